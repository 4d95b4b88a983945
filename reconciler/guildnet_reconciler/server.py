"""What is served: webhooks, health, readiness, metrics, and a local request for a pass.

No decision about what is deployed is made from a request: it can only ask to look now.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from guildnet.errors import ConfigurationError
from guildnet.serving import bind, serving
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


def _listeners(listen: str) -> list[socket.socket]:
    """Sockets bound to `host:port`; ConfigurationError for anything else."""
    host, _, port = listen.rpartition(":")
    try:
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError(port)
    except ValueError as error:
        raise ConfigurationError(
            "not an address and a port",
            place=f"--listen {listen}",
            cure="give HOST:PORT, such as 127.0.0.1:8080",
        ) from error
    try:
        return bind(host.strip("[]") or "127.0.0.1", number)
    except OSError as error:
        log.error("cannot listen on %s: %s; is another reconciler running there?", listen, error)
        return []


@asynccontextmanager
async def served(app: FastAPI, listen: str) -> AsyncIterator[None]:
    """Serve on `host:port` while the block lasts; ConfigurationError for anything else.

    An address that is taken is logged: reconciling goes on without the server.
    """
    listeners = _listeners(listen)
    if not listeners:
        yield
        return
    async with serving(app, listeners):
        yield
