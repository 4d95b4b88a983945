"""Diagnostics of a failed demo, saved before clean-up: logs and the clusters' objects."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import suppress
from pathlib import Path

from guildnet import labels
from guildnet.errors import GuildNetError
from guildnet.kube import AGENT_TASKS, DEPLOYMENTS, EVENTS, PODS, KubeClient
from guildnet_demo.environment import DemoEnvironment
from guildnet_demo.sites import ORGS

_MAX_LOG_BYTES = 4 * 1024 * 1024


def save(environment: DemoEnvironment, folder: Path) -> None:
    """Replace `folder` with this demo's diagnostics; skip what cannot be read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for log in environment.logs:
        with suppress(OSError):
            shutil.copy2(log, folder / log.name)
    for name, content in asyncio.run(_of_clusters(environment)).items():
        (folder / name).write_bytes(content)


async def _of_clusters(environment: DemoEnvironment) -> dict[str, bytes]:
    """File name -> content: objects that hold no secrets, and the operators' logs."""
    found: dict[str, bytes] = {}
    try:
        for org in ORGS:
            files = await _of_cluster(environment.client(org))
            found |= {f"{org}-{name}": content for name, content in files.items()}
    finally:
        await environment.close()
    return found


async def _of_cluster(client: KubeClient) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    system = labels.OPERATOR_NAMESPACE
    for name, kind, namespace in (
        ("agenttasks.json", AGENT_TASKS, client.namespace),
        ("pods.json", PODS, client.namespace),
        ("events.json", EVENTS, client.namespace),
        ("operators.json", DEPLOYMENTS, system),
    ):
        with suppress(GuildNetError):
            objects = await client.list_all(kind, namespace)
            found[name] = json.dumps(objects, indent=1).encode()
    with suppress(GuildNetError):
        selector = f"{labels.APP_NAME}={labels.OPERATOR}"
        for pod in await client.list_all(PODS, system, label_selector=selector):
            name = pod["metadata"]["name"]
            found[f"{name}.log"] = await client.pod_log(
                name, container="operator", namespace=system, max_bytes=_MAX_LOG_BYTES
            )
    return found
