"""Orgs on one API server share its gate; with the same credential also its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kmock as km
import pytest

from guildnet.kube import CONFIG_MAPS, KubeClient
from guildnet.kube.adaptive_limit import LimitBounds
from guildnet.kube.connections import Connections
from guildnet.kube.pacing import Gates
from guildnet.loop_lag import LoopLag

pytestmark = pytest.mark.kmock(cls=km.RawHandler)


@pytest.fixture
def connections() -> Connections:
    return Connections(Gates(bounds=LimitBounds(floor=1, initial=2, ceiling=2)), LoopLag())


async def test_one_session_serves_all_and_closes_with_the_last(
    kmock: Any, make_kubeconfig: Callable[..., Path], connections: Connections
) -> None:
    kmock[f"get {CONFIG_MAPS.path('agents', 'a')}"] << {"metadata": {"name": "a"}}
    path = make_kubeconfig(str(kmock.url))
    one, two = (connections.client(path, flow=flow) for flow in ("acme", "globex"))
    await one.get(CONFIG_MAPS, "a")
    await two.get(CONFIG_MAPS, "a")
    link = one._transport._link
    assert two._transport._link is link
    session = link._session
    await one.close()
    await one.close()
    await two.get(CONFIG_MAPS, "a")
    assert session is not None
    assert not session.closed
    await two.close()
    assert session.closed


async def test_another_credential_gets_separate_connections_and_the_same_gate(
    kmock: Any, make_kubeconfig: Callable[..., Path], connections: Connections, tmp_path: Path
) -> None:
    under_way: list[int] = [0, 0]

    async def slow(_request: Any) -> Any:
        under_way[0] += 1
        under_way[1] = max(under_way)
        await asyncio.sleep(0.02)
        under_way[0] -= 1
        return {"metadata": {"name": "a"}}

    kmock[f"get {CONFIG_MAPS.path('agents', 'a')}"] << slow
    clients: list[KubeClient] = []
    for flow in ("acme", "globex"):
        path = make_kubeconfig(str(kmock.url), {"token": f"token-of-{flow}"})
        clients.append(connections.client(path, flow=flow))
    assert clients[0]._transport._link is not clients[1]._transport._link
    await asyncio.gather(*(client.get(CONFIG_MAPS, "a") for client in clients * 5))
    assert under_way[1] == 2
    for client in clients:
        await client.close()
