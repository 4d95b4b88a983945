"""Connections to the agent API from the pod itself are recognised (I9)."""

from __future__ import annotations

import pytest

from guildnet_agent.supervisor.listener import is_from_within, peer_of


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
def test_connections_from_within_the_pod(peer: str, own: str, within: bool) -> None:
    assert is_from_within((peer, 40000), (own, 8484)) is within


def test_the_pods_own_addresses_count_as_one_peer() -> None:
    own = {peer_of(peer, "10.244.0.7") for peer in ("127.0.0.1", "127.9.9.9", "10.244.0.7")}
    assert len(own) == 1
    others = {peer_of(peer, "10.244.0.7") for peer in ("10.244.0.1", "10.244.0.2")}
    assert len(others) == 2
    assert not own & others


def test_a_peer_without_an_address_counts_as_within() -> None:
    assert is_from_within(None, None)
