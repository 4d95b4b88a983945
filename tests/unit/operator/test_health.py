"""Ready: a new task would be reconciled now. Not alive: only a restart would help."""

from __future__ import annotations

import pytest

from guildnet.errors import ConfigurationError
from guildnet_operator import health as module
from guildnet_operator.health import Health, serve_probes
from guildnet_operator.metrics import Metrics


class FakeLease:
    held = False


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_ready_needs_the_lease_and_working_watches(clock: Clock) -> None:
    lease = FakeLease()
    health = Health(lease)
    assert "Lease" in health.unready_reason()
    lease.held = True
    health.watches_started(lambda: "")
    assert "watches" in health.unready_reason()
    health.watch_reported()
    assert health.unready_reason() == ""
    clock.now += 21
    assert "watches" in health.unready_reason()
    health.watch_reported()
    lease.held = False
    assert "Lease" in health.unready_reason()


def test_waiting_for_the_lease_is_healthy(clock: Clock) -> None:
    health = Health(FakeLease())
    clock.now += 3600
    assert health.unhealthy_reason() == ""
    health.watches_started(lambda: "")
    clock.now += 89
    assert health.unhealthy_reason() == ""
    clock.now += 2
    assert "reported nothing for 91 s" in health.unhealthy_reason()
    health.watch_reported()
    assert health.unhealthy_reason() == ""


def test_it_is_alive_while_objects_are_reported_and_ready_after_the_last(clock: Clock) -> None:
    """However long that takes: a restart would only begin again."""
    lease, missing = FakeLease(), ["9000 of 10000 agenttasks"]
    lease.held = True
    health = Health(lease)
    health.watches_started(lambda: "".join(missing))
    for _ in range(10):
        clock.now += 80
        health.object_reported()
        assert health.unhealthy_reason() == ""
    assert "watches" in health.unready_reason(), "the Lease's watch has reported nothing"
    health.watch_reported()
    assert health.unready_reason() == "9000 of 10000 agenttasks"
    missing.clear()
    assert health.unready_reason() == ""
    clock.now += 91
    assert "reported nothing for 91 s" in health.unhealthy_reason()


@pytest.mark.parametrize("address", ["8080", "0.0.0.0", "0.0.0.0:x", "http://0.0.0.0:1/healthz"])
async def test_an_invalid_address_is_named(address: str) -> None:
    """I10"""
    with pytest.raises(ConfigurationError, match="GUILDNET_PROBES"):
        async with serve_probes(Health(FakeLease()), Metrics(), address):
            pass
