"""The HTTP server: webhooks, health, readiness, metrics, and requests for a pass.

A request can only ask for a pass. What is deployed comes from git alone.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from guildnet.serving import bind, parse_listen, serving
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.triggers.access import Access
from guildnet_reconciler.triggers.peers import RELAYED, Peers
from guildnet_reconciler.triggers.webhook import PROVIDERS, Delivery, Verdict

log = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Hooks:
    """What the server calls. `readiness` returns whether we are ready, and details by part.
    `peers` are the other replicas, which hear of each request for a pass."""

    trigger: Callable[[], None]
    resync: Callable[[str | None], list[str]]
    readiness: Callable[[], tuple[bool, dict[str, str]]]
    peers: Peers | None = None


def make_app(
    hooks: Hooks,
    metrics: Metrics,
    *,
    secret: Callable[[], bytes],
    branch: str,
    token: Callable[[], str] | None = None,
) -> FastAPI:
    """The HTTP application. With an empty `secret` webhooks are refused; `token`: see `Access`.
    Both are called for each request."""
    app = FastAPI(
        title="GuildNet reconciler",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(WithoutTrailingSlash)
    access = Access(token)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready(request: Request) -> JSONResponse:
        is_ready, details = hooks.readiness()
        shown = details if access.may_read(request) else {}
        return JSONResponse({"ready": is_ready, **shown}, status_code=200 if is_ready else 503)

    @app.get("/metrics")
    async def scrape(request: Request) -> Response:
        if not access.may_read(request):
            return _refused(
                "metrics are shown to requests from this machine, or with the token as Bearer"
            )
        return Response(metrics.exposition(), media_type=METRICS_TYPE)

    @app.post("/webhook/{provider}")
    async def webhook(provider: str, request: Request) -> JSONResponse:
        verdict = await _received(provider, request, secret(), branch)
        known = provider if provider in PROVIDERS else "unknown"
        metrics.webhooks.labels(known, str(verdict.code)).inc()
        if verdict.look:
            hooks.trigger()
            if hooks.peers is not None and RELAYED not in request.headers:
                hooks.peers.relay_webhook()
        return JSONResponse({"message": verdict.message}, status_code=verdict.code)

    @app.post("/sync")
    @app.post("/sync/{org}")
    async def sync(request: Request, org: str | None = None) -> JSONResponse:
        if not access.may_sync(request):
            return _refused(
                "a request for a pass needs the token as Bearer; `guildnet sync` sends it"
            )
        asked = hooks.resync(org)
        if hooks.peers is not None and asked and RELAYED not in request.headers:
            hooks.peers.relay_sync(org)
        if org is not None and not asked:
            return JSONResponse(
                {"message": f"this reconciler has no org {org[:50]!a}"}, status_code=404
            )
        return JSONResponse({"message": "queued", "orgs": asked}, status_code=202)

    return app


def _refused(message: str) -> JSONResponse:
    return JSONResponse(
        {"message": message}, status_code=401, headers={"WWW-Authenticate": "Bearer"}
    )


async def _received(provider: str, request: Request, secret: bytes, branch: str) -> Verdict:
    """The verdict on a webhook. Its body is read in chunks and not kept."""
    delivery = Delivery(provider, request.headers, secret=secret, branch=branch)
    verdict = delivery.refusal()
    if verdict is not None:
        return verdict
    try:
        async for chunk in request.stream():
            verdict = delivery.add(chunk)
            if verdict is not None:
                return verdict
    except ClientDisconnect:
        return Verdict(400, "the connection closed before the body was complete: send it again")
    return delivery.verdict()


class WithoutTrailingSlash:
    """Ignores a slash at the end of a path: forges do not follow redirects."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


def _listeners(listen: str) -> list[socket.socket]:
    """Sockets bound to `host:port`; ConfigurationError for anything else."""
    host, port = parse_listen(listen)
    try:
        return bind(host, port)
    except OSError as error:
        log.error(
            "cannot listen on %s: %s; end the process that uses it, or set --listen; "
            "reconciling continues without webhooks and metrics",
            listen,
            error,
        )
        return []


@asynccontextmanager
async def served(app: FastAPI, listen: str) -> AsyncIterator[None]:
    """Serve on `host:port` while the block lasts; ConfigurationError for anything else.

    If the address is in use, that is logged, and reconciling continues without the server.
    """
    listeners = _listeners(listen)
    if not listeners:
        yield
        return
    async with serving(app, listeners):
        yield
