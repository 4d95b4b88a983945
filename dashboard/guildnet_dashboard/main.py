"""Start the dashboard: mirror, read model, follower, routes and server."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from guildnet.errors import ConfigurationError
from guildnet.git import Mirror, stored_credentials
from guildnet.serving import BoundedServer, bind, http_config, parse_listen
from guildnet.state_folder import lock_folder
from guildnet.tokens import read_token
from guildnet_dashboard.access import Access, Guard, TokenAccess, check_exposure
from guildnet_dashboard.api import api_routes
from guildnet_dashboard.certificate import development_certificate
from guildnet_dashboard.error_responses import answer_errors
from guildnet_dashboard.follower import Follower
from guildnet_dashboard.pages import page_routes
from guildnet_dashboard.read_model import ReadModel
from guildnet_dashboard.reader import Reader
from guildnet_dashboard.rendering import STATIC, Renderer
from guildnet_dashboard.settings import Settings
from guildnet_dashboard.status_commits import StatusCommits

log = logging.getLogger(__name__)


async def run(settings: Settings, *, started: Callable[[str], None] | None = None) -> None:
    """Serve until cancelled or stopped by SIGINT or SIGTERM.

    Call `started` with the URL once the server accepts connections. Raises ConfigurationError
    for invalid settings before any port is opened.
    """
    check_exposure(settings)
    lock = lock_folder(settings.state_dir / "dashboard", "dashboard")
    try:
        certificate = _certificate(settings)
        with _mirror(settings) as mirror:
            app, follower = build(settings, mirror)
            await _serve(settings, app, follower, certificate, started)
    finally:
        lock.close()


def build(settings: Settings, mirror: Mirror) -> tuple[FastAPI, Follower]:
    """Build the application for `mirror`, and the follower that its lifespan runs."""
    model = ReadModel(mirror, branch=settings.branch, status_branch=settings.status_branch)
    branches = (settings.branch, settings.status_branch)
    follower = Follower(mirror, model, branches=branches, poll=settings.poll)
    reader = Reader(mirror, model, StatusCommits(mirror), follower, mirror.place)
    renderer = Renderer()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        access.fault()  # asks the provider, whose failure is logged
        following = asyncio.create_task(follower.run())
        following.add_done_callback(_log_failure)
        try:
            yield
        finally:
            await follower.feed.close()
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    app = FastAPI(
        title="GuildNet dashboard",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    access = _access(settings, app, renderer)
    app.include_router(api_routes(reader, access.fault))
    app.include_router(page_routes(reader, renderer))
    app.mount("/static", StaticFiles(directory=STATIC))
    answer_errors(app, renderer, mirror.place)
    host, _ = parse_listen(settings.listen)
    hosts = (*settings.hosts, host)
    if settings.insecure and host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        hosts = ("*",)
    app.add_middleware(Guard, access=access, hosts=hosts)
    return app, follower


def _access(settings: Settings, app: FastAPI, renderer: Renderer) -> Access:
    """Access control; with sign-in, its routes are added to `app`."""
    token = read_token(settings.token_file) if settings.token_file else None
    if settings.sign_in is None:
        return TokenAccess(token)
    # Not at the top: most dashboards verify no tokens, and its libraries load slowly.
    from guildnet_dashboard.sign_in.setup import set_up_sign_in

    access, router = set_up_sign_in(settings, settings.sign_in, token, renderer)
    app.include_router(router)
    return access


def _mirror(settings: Settings) -> Mirror:
    credentials = stored_credentials(settings.credentials_dir, settings.repository)
    path = settings.state_dir / "dashboard" / "mirror"
    return Mirror.open(settings.repository, path, credentials=credentials)


def _certificate(settings: Settings) -> tuple[Path, Path] | None:
    if settings.dev_tls:
        host, _ = parse_listen(settings.listen)
        return development_certificate(settings.state_dir / "dashboard" / "tls", host)
    if settings.tls_cert and settings.tls_key:
        return settings.tls_cert, settings.tls_key
    return None


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the follower stopped: pages are no longer updated", exc_info=error)


class _Server(BoundedServer):
    """Closes event streams before waiting for open connections; stops on SIGINT and SIGTERM."""

    capture_signals = uvicorn.Server.capture_signals

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[socket.socket],
        follower: Follower,
        started: Callable[[], None],
    ) -> None:
        super().__init__(config, listeners)
        self._follower = follower
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._follower.feed.close()
        await super().shutdown(sockets)


def _listeners(settings: Settings) -> list[socket.socket]:
    try:
        return bind(*parse_listen(settings.listen))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on this address: {error.strerror}",
            place=f"--listen {settings.listen}",
            cure="Choose another port, or stop the process that listens on it.",
        ) from error


async def _serve(
    settings: Settings,
    app: FastAPI,
    follower: Follower,
    certificate: tuple[Path, Path] | None,
    started: Callable[[str], None] | None,
) -> None:
    host, _ = parse_listen(settings.listen)
    listeners = _listeners(settings)
    port = listeners[0].getsockname()[1]
    config = http_config(app, lifespan=True, grace_seconds=5, certificate=certificate)

    def announce() -> None:
        shown = f"[{host}]" if ":" in host else host
        address = f"{'https' if certificate else 'http'}://{shown}:{port}/"
        log.info("serving %s", address)
        if started is not None:
            started(address)

    server = _Server(config, listeners, follower, announce)
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
