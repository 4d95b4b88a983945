"""Busy passes delay no renewal of a Lease; a process that hangs gives its Leases up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from tests.functional.reconciler.crowded_api import CrowdedApi

from guildnet.kube import Lease, LeaseTiming
from guildnet.kube.lease_loop import LeaseLoop

QUICK = LeaseTiming(
    duration=timedelta(seconds=1.5),
    renew_deadline=timedelta(seconds=1),
    retry=timedelta(seconds=0.2),
    request_timeout=timedelta(seconds=0.5),
)


@pytest.fixture
def api() -> Iterator[CrowdedApi]:
    with CrowdedApi().running() as api:
        yield api


@asynccontextmanager
async def renewing(
    api: CrowdedApi, folder: Path, may_renew: Callable[[], bool] = lambda: True
) -> AsyncIterator[tuple[Lease, LeaseLoop]]:
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    loop = LeaseLoop()
    client = loop.connections.client(folder / "kubeconfig", flow="acme")
    lease = Lease(client, "guildnet", "me", timing=QUICK, may_renew=may_renew)
    task = await loop.spawn(lease.run())
    try:
        async with asyncio.timeout(10):
            while not lease.held:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield lease, loop
    finally:
        await loop.end(task)
        await loop.run(client.close())
        await loop.stop()


async def test_a_busy_event_loop_costs_no_lease(api: CrowdedApi, tmp_path: Path) -> None:
    async with renewing(api, tmp_path) as (lease, loop):
        term, until = lease.term, time.monotonic() + 3
        was_held = True
        while time.monotonic() < until:  # this is the event loop of the passes: it stands still
            was_held = was_held and lease.held
        assert was_held
        assert lease.term == term
        assert loop.loop_lag.within(3) < 1
    assert not lease.held


async def test_a_process_that_hangs_gives_its_leases_up(api: CrowdedApi, tmp_path: Path) -> None:
    alive = True
    async with renewing(api, tmp_path, lambda: alive) as (lease, _):
        alive = False
        async with asyncio.timeout(10):
            while lease.held:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        alive = True
        async with asyncio.timeout(10):
            while not lease.held:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
