"""The probes over real HTTP, as a kubelet asks them."""

from __future__ import annotations

import logging
import socket

import httpx
import pytest

from guildnet_operator.health import Health, served


class FakeLease:
    held = False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_probe_is_answered_and_leaves_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp")
    lease = FakeLease()
    health = Health(lease)
    base = f"127.0.0.1:{free_port()}"
    async with served(health, base), httpx.AsyncClient(base_url=f"http://{base}") as client:
        assert (await client.get("/healthz")).status_code == 200
        waiting = await client.get("/readyz")
        assert (waiting.status_code, waiting.text) == (503, "the Lease is not held")
        lease.held = True
        health.hear()
        assert (await client.get("/readyz")).status_code == 200
    assert [r for r in caplog.records if r.name.startswith("aiohttp")] == []
