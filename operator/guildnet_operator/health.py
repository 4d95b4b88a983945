"""Answers the kubelet's probes and Prometheus' scrapes.

The operator renews its own Lease every 2 s, and a watch reports each renewal. So renewals that
arrive prove that watches work, without a request of their own. While the watches report the objects
that exist, each report proves it too: however many there are, a restart would only begin again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from guildnet.errors import ConfigurationError
from guildnet.serving import bind, parse_listen, serving
from guildnet_operator.metrics import METRICS_TYPE, Metrics

LIVE_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
# Ten missed renewals; and the longest time that a watch needs to be established again.
_READY_WITHIN_SECONDS = 20.0
_ALIVE_WITHIN_SECONDS = 90.0


class LeaseState(Protocol):
    """Whether the Lease is held."""

    @property
    def held(self) -> bool: ...


class Health:
    """The state of the Lease and of the watches."""

    def __init__(self, lease: LeaseState) -> None:
        self._lease = lease
        self._started_at: float | None = None
        self._reported_at: float | None = None
        self._progress_at: float | None = None
        self._missing: Callable[[], str] = lambda: ""

    def watches_started(self, missing: Callable[[], str]) -> None:
        """kopf starts its watches; `missing` returns what they have yet to report for the first
        time, empty if nothing."""
        self._started_at = time.monotonic()
        self._missing = missing

    def object_reported(self) -> None:
        """A watch reported an object."""
        self._progress_at = time.monotonic()

    def watch_reported(self) -> None:
        """A watch reported the renewal of the Lease."""
        self._reported_at = time.monotonic()

    def unready_reason(self) -> str:
        """Why a new AgentTask would not be reconciled now; empty if it would."""
        if not self._lease.held:
            return "the Lease is not held"
        if _age(self._reported_at) > _READY_WITHIN_SECONDS:
            return "the watches have reported nothing for 20 s"
        return self._missing()

    def unhealthy_reason(self) -> str:
        """Why the operator must be restarted; empty also while another one holds the Lease."""
        quiet = min(map(_age, (self._started_at, self._reported_at, self._progress_at)))
        if self._started_at is not None and quiet > _ALIVE_WITHIN_SECONDS:
            return f"the watches have reported nothing for {quiet:.0f} s"
        return ""


def _age(at: float | None) -> float:
    return float("inf") if at is None else time.monotonic() - at


@asynccontextmanager
async def serve_probes(
    health: Health, metrics: Metrics, address: str | None
) -> AsyncIterator[None]:
    """Answer probes and scrapes on `address` (host:port); do nothing for None.

    Raises ConfigurationError for an invalid address, and one that cannot be listened on.
    """
    if address is None:
        yield
        return
    listeners = _listeners(address)
    # No log line for each probe: they would hide everything else.
    async with serving(_application(health, metrics), listeners):
        yield


def _application(health: Health, metrics: Metrics) -> Starlette:
    async def alive(_: Request) -> Response:
        return _probe_response(health.unhealthy_reason())

    async def ready(_: Request) -> Response:
        return _probe_response(health.unready_reason())

    async def scrape(_: Request) -> Response:
        return Response(metrics.exposition(), headers={"content-type": METRICS_TYPE})

    paths = {LIVE_PATH: alive, READY_PATH: ready, METRICS_PATH: scrape}
    return Starlette(routes=[Route(path, answer) for path, answer in paths.items()])


def _probe_response(fault: str) -> Response:
    return PlainTextResponse(fault or "ok", status_code=503 if fault else 200)


def _listeners(address: str) -> list[socket.socket]:
    host, port = parse_listen(address, "GUILDNET_PROBES")
    try:
        return bind(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen: {error.strerror}",
            place=f"GUILDNET_PROBES={address}",
            cure="give another port, or stop what listens there",
        ) from error
