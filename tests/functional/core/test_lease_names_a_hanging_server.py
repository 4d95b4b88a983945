"""Renewing the Lease is the liveness probe: silence is named before the fence falls (I10)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import kmock as km
import pytest

from guildnet.errors import KubeError
from guildnet.kube import LEASES, KubeClient, Lease, LeaseTiming

pytestmark = pytest.mark.kmock(cls=km.RawHandler)

QUICK = LeaseTiming(
    duration=timedelta(seconds=3),
    renew_deadline=timedelta(seconds=2),
    retry=timedelta(seconds=0.2),
    request_timeout=timedelta(seconds=0.5),
)


class Server:
    """Keeps one Lease; hangs while `hangs`."""

    def __init__(self) -> None:
        self.hangs = False
        self.version = 1
        self.writes = 0

    async def __call__(self, request: Any) -> Any:
        if self.hangs:
            await asyncio.sleep(3600)
        if request.method.value != "GET":
            self.writes += 1
            self.version += 1
            self.stored = dict(request.data)
        self.stored["metadata"]["resourceVersion"] = str(self.version)
        return self.stored

    stored: dict[str, Any] = {  # noqa: RUF012
        "metadata": {"name": "guildnet", "namespace": "agents"},
        "spec": {"holderIdentity": ""},
    }


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells of time that passed
            await asyncio.sleep(0.02)


async def test_silence_is_named_then_the_fence_falls_then_it_recovers(
    kmock: Any, make_kubeconfig: Callable[..., Path]
) -> None:
    server = Server()
    kmock[f"get {LEASES.path('agents', 'guildnet')}"] << server
    kmock[f"put {LEASES.path('agents', 'guildnet')}"] << server
    heard: list[KubeError | None] = []
    client = KubeClient.from_kubeconfig(make_kubeconfig(str(kmock.url)))
    lease = Lease(client, "guildnet", "me", timing=QUICK, on_liveness=heard.append)
    async with client:
        task = asyncio.create_task(lease.run())
        await lease.wait_held()
        assert heard == []
        server.hangs = True
        since = time.monotonic()
        await until(lambda: bool(heard))
        assert time.monotonic() - since < 1.5
        assert heard[0] is not None
        assert heard[0].reason == "Timeout"
        assert lease.held
        await until(lambda: not lease.held)
        writes = server.writes
        assert lease.remaining == timedelta(0)
        server.hangs = False
        await lease.wait_held()
        assert heard[-1] is None
        assert server.writes > writes
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert server.stored["spec"]["holderIdentity"] == ""


def test_the_defaults_name_a_hanging_server_within_ten_seconds() -> None:
    """I10: named 6 s after the last answer; written to no more after 10; taken over after 15."""
    timing = LeaseTiming()
    assert timing.retry + timing.request_timeout < timedelta(seconds=10)
    assert timing.renew_deadline < timing.duration
