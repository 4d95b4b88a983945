"""What is served: webhooks, health, readiness, metrics, and a local request for a pass.

No decision about what is deployed is made from a request: it can only ask to look now.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from guildnet.errors import ConfigurationError
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.triggers.webhook import MAX_BODY_BYTES, PROVIDERS, Verdict, judge

log = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Hooks:
    """What the server may ask and tell. `readiness` gives problems by what has them."""

    trigger: Callable[[], None]
    resync: Callable[[str | None], list[str]]
    readiness: Callable[[], tuple[bool, dict[str, str]]]


def make_app(hooks: Hooks, metrics: Metrics, *, secret: bytes, branch: str) -> FastAPI:
    """The HTTP application; `secret` empty takes no webhooks."""
    app = FastAPI(title="GuildNet reconciler", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        is_ready, told = hooks.readiness()
        return JSONResponse({"ready": is_ready, **told}, status_code=200 if is_ready else 503)

    @app.get("/metrics")
    async def scrape() -> Response:
        return Response(metrics.exposition(), media_type=METRICS_TYPE)

    @app.post("/webhook/{provider}")
    async def webhook(provider: str, request: Request) -> JSONResponse:
        verdict = await _judged(provider, request, secret, branch)
        known = provider if provider in PROVIDERS else "unknown"
        metrics.webhooks.labels(known, str(verdict.code)).inc()
        if verdict.look:
            hooks.trigger()
        return JSONResponse({"message": verdict.message}, status_code=verdict.code)

    @app.post("/sync")
    @app.post("/sync/{org}")
    async def sync(request: Request, org: str | None = None) -> JSONResponse:
        if not _is_local(request):
            return JSONResponse({"message": "only from this machine"}, status_code=403)
        asked = hooks.resync(org)
        if org is not None and not asked:
            return JSONResponse({"message": f"there is no org {org} here"}, status_code=404)
        return JSONResponse({"message": "queued", "orgs": asked}, status_code=202)

    return app


async def _judged(provider: str, request: Request, secret: bytes, branch: str) -> Verdict:
    if not secret:
        cure = "start the reconciler with --webhook-secret-file"
        return Verdict(403, f"webhooks are not taken without a secret: {cure}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return Verdict(413, f"more than {MAX_BODY_BYTES} bytes")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return judge(provider, headers, bytes(body), secret=secret, branch=branch)


def _is_local(request: Request) -> bool:
    """From this machine, and no page in a browser: those name another host or an origin."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback and "origin" not in request.headers


class QuietServer(uvicorn.Server):
    """A server that leaves the process's signals to `main`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: FastAPI, listen: str) -> QuietServer:
    host, _, port = listen.rpartition(":")
    config = uvicorn.Config(
        app,
        host=host.strip("[]") or "127.0.0.1",
        port=int(port),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    return QuietServer(config)


@asynccontextmanager
async def served(app: FastAPI, listen: str) -> AsyncIterator[None]:
    """Serve on `host:port` while the block lasts; ConfigurationError for anything else. An address
    that is taken is logged: what is not served is still reconciled."""
    try:
        server = _server(app, listen)
    except ValueError as error:
        raise ConfigurationError(f"--listen {listen!r} is no host:port") from error
    task = asyncio.create_task(_serve(server, listen))
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def _serve(server: QuietServer, listen: str) -> None:
    try:
        await server.serve()
    except SystemExit as error:
        log.error("cannot listen on %s: is another reconciler running there? (%s)", listen, error)
