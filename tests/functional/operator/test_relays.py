"""Tailscale's relays are read from its DERP map, whose documented shape a local server gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from guildnet.mesh import MeshSettings, mesh_settings
from guildnet_operator.lookups import relays as relays_module
from guildnet_operator.lookups.relays import Relays, relay_addresses

MAP: dict[str, Any] = {
    "Regions": {
        "1": {
            "RegionID": 1, "RegionCode": "nyc", "Nodes": [
                {"Name": "1f", "HostName": "derp1f.example", "IPv4": "192.0.2.1",
                 "IPv6": "2001:db8::1"},
                {"Name": "1g", "HostName": "derp1g.example", "IPv4": "192.0.2.2", "IPv6": "none",
                 "DERPPort": 8443},
                {"Name": "1s", "HostName": "stun.example", "IPv4": "192.0.2.3", "STUNOnly": True},
            ],
        }
    }
}  # fmt: skip
FOUND = (("192.0.2.1", 443), ("192.0.2.2", 8443), ("2001:db8::1", 443))


class Server:
    """Answers with `content`; counts the requests, and holds them while `hang` is set."""

    def __init__(self) -> None:
        self.content = json.dumps(MAP).encode()
        self.asked = 0
        self.hang = False

    async def serve(self, request: web.Request) -> web.Response:
        self.asked += 1
        while self.hang:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return web.Response(body=self.content)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, MeshSettings]]:
    given = Server()
    app = web.Application()
    app.router.add_get("/derpmap/default", given.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    mesh = mesh_settings(
        "acme", {"mode": "tailscale", "apiSecret": "m", "loginServer": f"http://{host}:{port}"}
    )
    assert mesh is not None
    monkeypatch.setattr(relays_module, "is_vendor", lambda _: True)
    monkeypatch.setattr(relays_module, "_WAIT_SECONDS", 10)
    yield given, mesh
    given.hang = False
    await runner.cleanup()


async def test_the_relays_are_read_once_for_a_while(server: tuple[Server, MeshSettings]) -> None:
    given, mesh = server
    relays = Relays(timedelta(minutes=5))
    assert await relays.of(mesh) == FOUND
    assert await relays.of(mesh) == FOUND
    assert given.asked == 1


async def test_a_failed_lookup_keeps_the_last_answer(server: tuple[Server, MeshSettings]) -> None:
    given, mesh = server
    relays = Relays(timedelta())
    assert await relays.of(mesh) == FOUND
    given.content = b"<html>"
    for _ in range(3):
        assert await relays.of(mesh) == FOUND
        await asyncio.sleep(0.05)
    assert given.asked == 2, "not before a minute has passed"


async def test_a_server_that_hangs_delays_no_more_than_a_moment(
    server: tuple[Server, MeshSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays_module, "_WAIT_SECONDS", 0.05)
    given, mesh = server
    given.hang = True
    relays = Relays(timedelta(minutes=5))
    async with asyncio.timeout(2):
        assert await relays.of(mesh) == ()
    given.hang = False
    async with asyncio.timeout(5):
        while await relays.of(mesh) != FOUND:  # noqa: ASYNC110  a lookup has no event
            await asyncio.sleep(0.01)


async def test_a_headscale_is_its_own_relay() -> None:
    mesh = mesh_settings(
        "acme", {"mode": "tailscale", "apiSecret": "m", "loginServer": "https://hs.example"}
    )
    assert await Relays(timedelta()).of(mesh) == ()
    assert await Relays(timedelta()).of(None) == ()


@pytest.mark.parametrize(
    "value",
    [
        5,
        {},
        {"Regions": []},
        {"Regions": {"1": {"Nodes": [5]}}},
        {"Regions": {"1": {"Nodes": [{"IPv4": "x"}]}}},
        {"Regions": {"1": {"Nodes": [{"IPv4": "192.0.2.1", "DERPPort": 70000}]}}},
    ],
)
def test_another_shape_is_an_error(value: Any) -> None:
    """I9."""
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        relay_addresses(value)
