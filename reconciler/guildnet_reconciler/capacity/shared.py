"""Connections, threads, processes and turns for large passes, which all orgs share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from guildnet.kube.adaptive_limit import LimitBounds
from guildnet.kube.connections import Connections
from guildnet.kube.lease_loop import LeaseLoop
from guildnet.kube.pacing import Gates
from guildnet.loop_lag import LoopLag
from guildnet_reconciler.capacity.threads import OrgThreads
from guildnet_reconciler.capacity.validation import Validation
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.settings import Settings

LARGE_PASSES_PER_SERVER = 4
LARGE_PASSES = 16
MACHINE_CHECKS = 4
HUNG = timedelta(seconds=60)
"""If no pass could run for so long, the process hangs, and another replica should take over."""


class Capacity:
    """Made once for each reconciler, on its event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.loop_lag = LoopLag(metrics.loop_lag.labels("passes").observe)
        bounds = LimitBounds(ceiling=settings.in_flight)
        self.gates = Gates(total=settings.total_in_flight, bounds=bounds)
        self.connections = Connections(self.gates, self.loop_lag)
        self.leases = LeaseLoop(metrics.loop_lag.labels("leases").observe)
        self.threads = OrgThreads()
        self.machine_threads = OrgThreads(MACHINE_CHECKS, per_org=1)
        """For checks of Talos machines, which last minutes: passes never wait for one."""
        self.validation = Validation()
        self.large_passes = LargePasses()
        metrics.requests_in_flight.set_function(lambda: self.gates.in_flight)
        metrics.requests_waiting.set_function(lambda: self.gates.waiting)

    def is_alive(self) -> bool:
        """Whether passes still run; if not, Leases are not renewed. From any thread."""
        return self.loop_lag.now < HUNG.total_seconds()


class LargePasses:
    """First syncs queue: a bounded number at once for each server, and in total. Only orgs that
    hold their Lease queue here, so that a cluster that does not answer delays no other org."""

    def __init__(
        self, per_server: int = LARGE_PASSES_PER_SERVER, total: int = LARGE_PASSES
    ) -> None:
        self._per_server = per_server
        self._servers: dict[str, asyncio.Semaphore] = {}
        self._total = asyncio.Semaphore(total)

    @asynccontextmanager
    async def turn(self, server: str) -> AsyncIterator[None]:
        """Wait for a turn at `server`, and keep it for the block."""
        at_server = self._servers.setdefault(server, asyncio.Semaphore(self._per_server))
        async with at_server, self._total:
            yield
