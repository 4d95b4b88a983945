"""Limits on open connections hold, and busy connections are never closed for others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.serving import Limits, peer_address
from guildnet.serving.limits import Admission


@dataclass(eq=False)
class Opened:
    peer: str
    waits: bool


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=80))
def test_bounds_hold_and_only_waiting_connections_give_way(asked: list[tuple[str, bool]]) -> None:
    limits = Limits(total=8, per_peer=3)
    admission: Admission[Opened] = Admission(limits)
    for peer, waits in asked:
        may_enter, victim = admission.make_room(peer)
        if victim is not None:
            assert may_enter
            assert victim.waits
            admission.remove(victim)
            admission.remove(victim)
        if may_enter:
            admission.add(Opened(peer, waits))
        elif not may_enter:
            assert not any(item.waits for item in admission if item.peer == peer)
        held = [item.peer for item in admission]
        assert len(held) == len(admission) <= limits.total
        assert all(held.count(name) <= limits.per_peer for name in held)


def test_the_peer_that_holds_most_gives_way_first() -> None:
    admission: Admission[Opened] = Admission(Limits(total=4, per_peer=3))
    quiet, first = Opened("quiet", True), Opened("flood", True)
    for connection in (quiet, first, Opened("flood", True), Opened("flood", True)):
        admission.add(connection)
    assert admission.make_room("new") == (True, first)


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_addresses_that_one_peer_can_choose_from_are_one_peer(peer: str, name: str) -> None:
    assert peer_address(peer, "192.0.2.1") == name


@pytest.mark.parametrize("descriptors", [1, 20, 64, 256, 1024, 65536])
def test_connections_take_at_most_a_quarter_of_the_descriptors(descriptors: int) -> None:
    limits = Limits().within(descriptors)
    assert 1 <= limits.per_peer <= limits.total
    assert limits.total <= max(1, descriptors // 4)
