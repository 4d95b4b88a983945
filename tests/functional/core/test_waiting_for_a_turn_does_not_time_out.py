"""A request's time-out and its fence are checked when it is sent, not while it waits for a turn. An
answer that this process was too busy to read is not counted as the server's silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import kmock as km
import pytest

from guildnet.errors import KubeUnavailable
from guildnet.kube import CONFIG_MAPS, KubeClient
from guildnet.kube.adaptive_limit import LimitBounds
from guildnet.kube.api_errors import OVERLOADED
from guildnet.kube.connections import Connections
from guildnet.kube.pacing import Gates
from guildnet.loop_lag import LoopLag

pytestmark = pytest.mark.kmock(cls=km.RawHandler)
ONE_AT_A_TIME = LimitBounds(floor=1, initial=1, ceiling=1)


class Fence:
    held = True
    remaining = timedelta(seconds=5)


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    loop_lag = LoopLag()
    measuring = asyncio.create_task(loop_lag.run())
    yield Connections(Gates(bounds=ONE_AT_A_TIME), loop_lag)
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)


@pytest.fixture
async def client(
    kmock: Any, make_kubeconfig: Callable[..., Path], connections: Connections
) -> AsyncIterator[KubeClient]:
    async with connections.client(make_kubeconfig(str(kmock.url)), flow="acme") as client:
        yield client


async def test_the_time_out_starts_when_the_request_is_sent(kmock: Any, client: KubeClient) -> None:
    async def slow(_request: Any) -> Any:
        await asyncio.sleep(0.2)
        return {"metadata": {"name": "a"}}

    kmock[f"get {CONFIG_MAPS.path('agents', 'a')}"] << slow
    limit = timedelta(seconds=1)
    calls = [client.get(CONFIG_MAPS, "a", timeout=limit) for _ in range(8)]
    began = time.monotonic()
    assert len(await asyncio.gather(*calls)) == 8
    assert time.monotonic() - began > 1.2


async def test_a_write_is_not_sent_if_its_fence_is_lost_while_it_waits(
    kmock: Any, client: KubeClient
) -> None:
    sent: list[str] = []
    free = asyncio.Event()

    async def held_up(request: Any) -> Any:
        sent.append(request.method.value)
        await free.wait()
        return {"metadata": {"name": "a"}}

    kmock[f"get {CONFIG_MAPS.path('agents', 'a')}"] << held_up
    kmock[f"patch {CONFIG_MAPS.path('agents', 'a')}"] << held_up
    fence = Fence()
    reading = asyncio.create_task(client.get(CONFIG_MAPS, "a"))
    while not sent:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    writing = asyncio.create_task(client.fenced_by(fence).patch(CONFIG_MAPS, "a", {"data": {}}))
    await asyncio.sleep(0.05)
    fence.held = False
    free.set()
    await reading
    with pytest.raises(KubeUnavailable) as refused:
        await writing
    assert refused.value.reason == "LeaseNotHeld"
    assert sent == ["GET"]


async def test_an_answer_that_we_were_too_late_to_read_is_not_blamed_on_the_server(
    kmock: Any, client: KubeClient, connections: Connections
) -> None:
    async def slow(_request: Any) -> Any:
        await asyncio.sleep(0.3)
        return {"metadata": {"name": "a"}}

    kmock[f"get {CONFIG_MAPS.path('agents', 'a')}"] << slow
    await asyncio.sleep(0.1)
    call = asyncio.create_task(client.get(CONFIG_MAPS, "a", timeout=timedelta(seconds=0.5)))
    await asyncio.sleep(0.1)
    time.sleep(0.7)  # noqa: ASYNC251 - the event loop of the passes is blocked
    with pytest.raises(KubeUnavailable) as late:
        await call
    assert late.value.reason == OVERLOADED
    assert "this process itself" in late.value.message
    assert not connections.gates.of(client.server).is_silent
