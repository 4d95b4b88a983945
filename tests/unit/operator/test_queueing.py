"""Whose turn it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from guildnet_operator.queueing import Board, Candidate, places

T0 = datetime(2026, 1, 1, tzinfo=UTC)
candidates = st.lists(
    st.builds(
        Candidate,
        st.text("abcdef", min_size=1, max_size=6),
        st.integers(-3, 3),
        st.integers(0, 50).map(lambda minutes: T0 + timedelta(minutes=minutes)),
        st.booleans(),
    ),
    unique_by=lambda c: c.name,
    max_size=20,
)


def test_highest_priority_first_then_oldest() -> None:
    waiting = [
        Candidate("young", 0, T0 + timedelta(minutes=2), False),
        Candidate("old", 0, T0, False),
        Candidate("urgent", 5, T0 + timedelta(minutes=9), False),
    ]
    result = places(waiting, 1)
    assert result["urgent"].admitted
    assert [result[name].position for name in ("old", "young")] == [1, 2]
    assert "number 1 in line" in result["old"].message
    assert "limits.maxActive" in result["old"].message


@settings(deadline=None)
@given(candidates, st.integers(0, 10))
def test_no_more_than_allowed_and_none_is_sent_away(
    everyone: list[Candidate], max_active: int
) -> None:
    result = places(everyone, max_active)
    active = {c.name for c in everyone if c.active}
    admitted = {name for name, place in result.items() if place.admitted}
    assert set(result) == {c.name for c in everyone}
    assert active <= admitted
    assert len(admitted) <= max(max_active, len(active))
    positions = sorted(p.position for p in result.values() if not p.admitted)
    assert positions == list(range(1, len(positions) + 1))


@settings(deadline=None)
@given(candidates, st.integers(0, 10))
def test_nobody_is_overtaken(everyone: list[Candidate], max_active: int) -> None:
    result = places(everyone, max_active)
    entered = [c for c in everyone if not c.active and result[c.name].admitted]
    left = [c for c in everyone if not result[c.name].admitted]
    for inside in entered:
        for outside in left:
            assert (-inside.priority, inside.created) <= (-outside.priority, outside.created)


def test_a_far_position_is_not_told() -> None:
    """Each end would otherwise rewrite every status in line."""
    line = [Candidate(f"t{n}", 0, T0 + timedelta(minutes=n), False) for n in range(40)]
    result = places(line, 0)
    assert result["t20"].message == result["t30"].message


def test_the_board_tells_whose_place_has_changed_and_nobody_else() -> None:
    """I5: an end wakes who comes next, not everybody in line."""
    told: list[str] = []
    board = Board(told.append)
    line = [Candidate(f"t{n:02}", 0, T0 + timedelta(minutes=n), n == 0) for n in range(40)]
    for candidate in line:
        board.put(candidate.name, candidate)
    assert not board.place("t01", 1).admitted
    told.clear()
    board.put("t20", line[20])
    board.place("t20", 1)
    assert told == []
    board.put("t00", None)
    assert board.place("t01", 1).admitted
    assert told == [f"t{n:02}" for n in range(1, 12)]
    assert board.place("unknown", 1).admitted


def test_a_kept_place_is_not_given_away() -> None:
    board = Board(lambda _: None)
    for name in ("a", "b"):
        board.put(name, Candidate(name, 0, T0, False))
    assert board.place("a", 1).admitted
    board.put("a", Candidate("a", 0, T0, True))
    assert not board.place("b", 1).admitted
