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
    health.watches_started()
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
    health.watches_started()
    clock.now += 89
    assert health.unhealthy_reason() == ""
    clock.now += 2
    assert "reported nothing for 91 s" in health.unhealthy_reason()
    health.watch_reported()
    assert health.unhealthy_reason() == ""


@pytest.mark.parametrize("address", ["8080", "0.0.0.0", "0.0.0.0:x", "http://0.0.0.0:1/healthz"])
async def test_an_invalid_address_is_named(address: str) -> None:
    """I10"""
    with pytest.raises(ConfigurationError, match="GUILDNET_PROBES"):
        async with serve_probes(Health(FakeLease()), Metrics(), address):
            pass
