"""Where a context may be read from, and who may stuff the agent API (I9)."""

from __future__ import annotations

import pytest

from guildnet_agent.supervisor.doorway import is_from_within
from guildnet_agent.supervisor.urls import is_forbidden


@pytest.mark.parametrize(
    ("address", "first", "redirected"),
    [
        ("93.184.216.34", False, False),
        ("10.1.2.3", False, False),
        ("2606:2800:220:1::1", False, False),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("169.254.169.254", True, True),
        ("::ffff:169.254.169.254", True, True),
        ("fe80::1%eth0", True, True),
        ("0.0.0.0", True, True),
        ("224.0.0.1", True, True),
    ],
)
def test_a_redirect_leads_to_no_place_of_the_machine(
    address: str, first: bool, redirected: bool
) -> None:
    assert is_forbidden(address, is_own=True) is first
    assert is_forbidden(address, is_own=False) is redirected


@pytest.mark.parametrize(
    ("peer", "own", "within"),
    [
        ("10.244.0.1", "10.244.0.7", False),
        ("10.244.0.7", "10.244.0.7", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.9.9.9", "10.244.0.7", True),
        ("10.244.0.7", "127.0.0.1", True),
        ("::ffff:127.0.0.1", "::ffff:10.244.0.7", True),
        ("::ffff:10.244.0.1", "::ffff:10.244.0.7", False),
        ("fd00::7%eth0", "fd00::7", True),
    ],
)
def test_who_comes_from_within_the_pod(peer: str, own: str, within: bool) -> None:
    assert is_from_within((peer, 40000), (own, 8484)) is within


def test_who_comes_from_nowhere_is_no_stranger_to_trust() -> None:
    assert is_from_within(None, None)
