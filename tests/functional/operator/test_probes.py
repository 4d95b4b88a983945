"""The probes and the metrics over real HTTP, as a kubelet and Prometheus ask for them."""

from __future__ import annotations

import logging
import socket

import httpx
import pytest
from tests.functional.half_open import half_open

from guildnet.errors import ConfigurationError
from guildnet_operator.health import Health, serve_probes
from guildnet_operator.metrics import Metrics


class FakeLease:
    held = False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_probe_is_answered_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp")
    lease = FakeLease()
    health = Health(lease)
    base = f"127.0.0.1:{free_port()}"
    async with (
        serve_probes(health, Metrics(), base),
        httpx.AsyncClient(base_url=f"http://{base}") as client,
    ):
        assert (await client.get("/healthz")).status_code == 200
        waiting = await client.get("/readyz")
        assert (waiting.status_code, waiting.text) == (503, "the Lease is not held")
        lease.held = True
        health.watch_reported()
        assert (await client.get("/readyz")).status_code == 200
    assert [r for r in caplog.records if r.name.startswith("aiohttp")] == []


async def test_metrics_are_scraped_beside_the_probes() -> None:
    metrics = Metrics()
    waiting = [3]
    metrics.watch("queued", "AgentTasks that wait for a slot", lambda: waiting[0])
    metrics.requested("apply", 200)
    base = f"127.0.0.1:{free_port()}"
    async with (
        serve_probes(Health(FakeLease()), metrics, base),
        httpx.AsyncClient(base_url=f"http://{base}") as client,
    ):
        first = await client.get("/metrics")
        waiting[0] = 4
        second = await client.get("/metrics")
    assert first.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "guildnet_operator_queued 3.0" in first.text
    assert "guildnet_operator_queued 4.0" in second.text
    assert 'guildnet_operator_api_requests_total{code="200",verb="apply"} 1.0' in first.text
    assert 'guildnet_operator_outcomes_total{reason="TaskSucceeded"} 0.0' in first.text


async def test_half_open_connections_keep_no_probe_out() -> None:
    """I9: connections of others do not get the pod restarted."""
    port = free_port()
    lease = FakeLease()
    lease.held = True
    async with (
        serve_probes(Health(lease), Metrics(), f"127.0.0.1:{port}"),
        half_open(port, 1200) as opened,
    ):
        assert opened == 1200
        for _ in range(3):
            async with httpx.AsyncClient(timeout=5) as kubelet:
                answer = await kubelet.get(f"http://127.0.0.1:{port}/healthz")
                assert answer.status_code == 200


async def test_a_port_in_use_is_named() -> None:
    """I10."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match="cannot listen") as refusal:
            async with serve_probes(Health(FakeLease()), Metrics(), address):
                pass
    assert refusal.value.place == f"GUILDNET_PROBES={address}"
