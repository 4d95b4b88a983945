"""Builds the supervisor from its settings, and serves the agent API until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

from guildnet.agent_api.signing import parse_key
from guildnet.errors import ConfigurationError
from guildnet.serving import BoundedServer, http_config
from guildnet_agent.exchange import CONTEXTS
from guildnet_agent.settings import Settings, read_settings
from guildnet_agent.supervisor.api import Api
from guildnet_agent.supervisor.artifacts import ArtifactStore
from guildnet_agent.supervisor.contexts.fetch import ContextSource
from guildnet_agent.supervisor.editor_health import watch_editor
from guildnet_agent.supervisor.git.credentials import MountedSecrets
from guildnet_agent.supervisor.git.process import GitRunner
from guildnet_agent.supervisor.git.repository import remove_stale_locks
from guildnet_agent.supervisor.journal import Journal
from guildnet_agent.supervisor.listener import LIMITS, listen
from guildnet_agent.supervisor.mesh_peer import watch_mesh
from guildnet_agent.supervisor.model_gateway.gateway import ModelGateway
from guildnet_agent.supervisor.model_gateway.serving import gateway_socket, serve_gateway
from guildnet_agent.supervisor.model_gateway.upstream import Upstream
from guildnet_agent.supervisor.model_gateway.usage_store import UsageStore
from guildnet_agent.supervisor.models import Models
from guildnet_agent.supervisor.redaction import MountedRedactor
from guildnet_agent.supervisor.state_board import StateBoard
from guildnet_agent.supervisor.step_context import StepContext
from guildnet_agent.supervisor.steps.sequence import Steps
from guildnet_agent.supervisor.task import read_task

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 100.0  # of the pod's 120 s of grace


def wire(settings: Settings, gateway: ModelGateway) -> tuple[Api, Steps]:
    """Build API and steps from the mounted files. ConfigurationError names an invalid file."""
    path = settings.agent_dir / "api-key"
    try:
        key = parse_key(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(str(error), place=str(path)) from None
    task = read_task(settings.agent_dir)
    redact = MountedRedactor(settings)
    scratch = settings.home / ".guildnet"
    scratch.mkdir(parents=True, exist_ok=True)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    remove_stale_locks(settings.exchange_in / CONTEXTS)
    runner = GitRunner(scratch, settings.git_timeout_seconds, redact)
    board = StateBoard()
    store = ArtifactStore(settings.state_dir)
    journal = Journal(scratch / "journal.jsonl")
    models = Models(gateway, UsageStore(scratch / "usage.json"), board, settings)
    source = ContextSource(task, settings, runner, MountedSecrets(task, settings))
    steps = Steps(StepContext(source, journal, store, board, redact, models))
    return Api(key, steps, board, store, settings, redact), steps


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM; then stop the current start and push its work."""
    listener = listen(settings.listen, settings.port)
    upstream = Upstream()
    gateway = ModelGateway(upstream)
    api, steps = wire(settings, gateway)
    server = BoundedServer(http_config(api.application()), [listener], LIMITS)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    steps.resume()
    serving = asyncio.create_task(server.serve())
    watching = asyncio.create_task(_watch_editor(api.board, settings))
    meshing = asyncio.create_task(_watch_mesh(api.board, settings))
    waiting = asyncio.create_task(ending.wait())
    async with serve_gateway(gateway, gateway_socket(settings.gateway_port)):
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        steps.stop("Terminated")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await steps.wait()
    await upstream.close()
    server.should_exit = True
    server.force_exit = True
    watching.cancel()
    meshing.cancel()
    waiting.cancel()
    await serving


async def _watch_editor(board: StateBoard, settings: Settings) -> None:
    """Watch the editor unless the task disables it."""
    if read_task(settings.agent_dir).spec.get("editor", {}).get("enabled", True):
        await watch_editor(board, settings)


async def _watch_mesh(board: StateBoard, settings: Settings) -> None:
    """Watch the peer in a pod that has one."""
    if await asyncio.to_thread(settings.mesh_dir.is_dir):
        await watch_mesh(board, settings.mesh_dir)


def main() -> int:
    """Entry point of ``python3 -m guildnet_agent.supervisor``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("httpx", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.umask(0o022)
    try:
        asyncio.run(serve(read_settings(os.environ)))
    except (ConfigurationError, ValueError) as error:
        print(f"guildnet: {error}", file=sys.stderr)
        return 1
    return 0
