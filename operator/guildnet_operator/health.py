"""Whether the operator can work, as the kubelet's probes ask it.

Its own Lease is renewed every 2 s, and a watch tells of each renewal: so the watches are seen to
run without asking anybody anything.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from guildnet.errors import ConfigurationError
from guildnet.serving import bind, serving
from guildnet_operator.metrics import METRICS_TYPE, Metrics

LIVE_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
# Ten renewals of the Lease missed; and what a watch at most needs to be begun anew.
_READY_WITHIN_SECONDS = 20.0
_ALIVE_WITHIN_SECONDS = 90.0


class Held(Protocol):
    """The Lease, as far as it matters here."""

    @property
    def held(self) -> bool: ...


class Health:
    """What is known of the Lease and the watches."""

    def __init__(self, lease: Held) -> None:
        self._lease = lease
        self._started_at: float | None = None
        self._reported_at: float | None = None

    def watches_started(self) -> None:
        """The watches are being begun."""
        self._started_at = time.monotonic()

    def watch_reported(self) -> None:
        """A watch told of something that is known to go on happening."""
        self._reported_at = time.monotonic()

    def unready_reason(self) -> str:
        """Why an AgentTask made now would not be taken up; empty when it would."""
        if not self._lease.held:
            return "the Lease is not held"
        if _age(self._reported_at) > _READY_WITHIN_SECONDS:
            return "the watches do not tell of anything"
        return ""

    def unhealthy_reason(self) -> str:
        """Why only a restart would help; empty also while another one holds the Lease."""
        silence = min(_age(self._started_at), _age(self._reported_at))
        if self._started_at is not None and silence > _ALIVE_WITHIN_SECONDS:
            return f"the watches are silent for {silence:.0f} s"
        return ""


def _age(at: float | None) -> float:
    return float("inf") if at is None else time.monotonic() - at


@asynccontextmanager
async def serve_probes(
    health: Health, metrics: Metrics, address: str | None
) -> AsyncIterator[None]:
    """Answer the probes, and scrapes, on `address` (host:port), if given.

    ConfigurationError for a bad one.
    """
    if address is None:
        yield
        return
    listeners = _listeners(address)
    # Serving them logs no line for each probe: that would hide everything else.
    async with serving(_application(health, metrics), listeners):
        yield


def _application(health: Health, metrics: Metrics) -> Starlette:
    async def alive(_: Request) -> Response:
        return _verdict(health.unhealthy_reason())

    async def ready(_: Request) -> Response:
        return _verdict(health.unready_reason())

    async def scrape(_: Request) -> Response:
        return Response(metrics.exposition(), headers={"content-type": METRICS_TYPE})

    paths = {LIVE_PATH: alive, READY_PATH: ready, METRICS_PATH: scrape}
    return Starlette(routes=[Route(path, answer) for path, answer in paths.items()])


def _verdict(fault: str) -> Response:
    return PlainTextResponse(fault or "ok", status_code=503 if fault else 200)


def _listeners(address: str) -> list[socket.socket]:
    host, port = _host_and_port(address)
    try:
        return bind(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen: {error.strerror}",
            place=f"GUILDNET_PROBES={address}",
            cure="give another port, or stop what listens there",
        ) from error


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise ConfigurationError(
            f"{address!r} is not an address to answer probes and scrapes on",
            place="GUILDNET_PROBES",
            cure="give HOST:PORT, such as 0.0.0.0:8080",
        )
    return host, port
