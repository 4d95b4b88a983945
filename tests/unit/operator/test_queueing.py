"""Whose turn it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from guildnet_operator.decisions.slots import Admission, Candidate, SlotTable, admissions

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
    result = admissions(waiting, 1)
    assert result["urgent"].admitted
    assert [result[name].position for name in ("old", "young")] == [1, 2]
    assert [result[name].message for name in ("old", "young")] == [
        "1st of 2 in the queue; limits.maxActive is 1",
        "2nd of 2 in the queue; limits.maxActive is 1",
    ]


@settings(deadline=None)
@given(candidates, st.integers(0, 10))
def test_no_more_than_allowed_and_none_is_sent_away(
    everyone: list[Candidate], max_active: int
) -> None:
    result = admissions(everyone, max_active)
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
    result = admissions(everyone, max_active)
    entered = [c for c in everyone if not c.active and result[c.name].admitted]
    left = [c for c in everyone if not result[c.name].admitted]
    for inside in entered:
        for outside in left:
            assert (-inside.priority, inside.since) <= (-outside.priority, outside.since)


def test_a_far_position_is_not_told() -> None:
    """Each end would otherwise rewrite every status in line."""
    line = [Candidate(f"t{n}", 0, T0 + timedelta(minutes=n), False) for n in range(40)]
    result = admissions(line, 0)
    assert (
        result["t20"].message
        == result["t30"].message
        == ("behind at least 10 others in the queue; limits.maxActive is 0")
    )
    longer = admissions([*line, Candidate("last", 0, T0 + timedelta(hours=1), False)], 0)
    assert [longer[c.name].message for c in line] == [result[c.name].message for c in line]
    assert result["t2"].message == "3rd of more than 10 in the queue; limits.maxActive is 0"


def test_ordinals_are_as_people_write_them() -> None:
    places_ = [Admission(False, position, 1, 10).message.split()[0] for position in range(1, 11)]
    assert places_ == ["1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "10th"]


def test_an_active_one_is_not_woken_by_who_waits() -> None:
    """I4, I5: that somebody waits for its place changes nothing about it now."""
    told: list[str] = []
    slots = SlotTable(told.append)
    slots.put("works", Candidate("works", 0, T0, True))
    slots.admission("works", 1)
    told.clear()
    slots.put("waits", Candidate("waits", 0, T0, False))
    assert slots.admission("waits", 1).position == 1
    assert told == ["waits"]
    assert slots.admission("works", 1).waiting == 1
    assert (slots.active, slots.waiting) == (1, 1)


def test_the_board_tells_whose_place_has_changed_and_nobody_else() -> None:
    """I5: an end wakes who comes next, not everybody in line."""
    told: list[str] = []
    slots = SlotTable(told.append)
    line = [Candidate(f"t{n:02}", 0, T0 + timedelta(minutes=n), n == 0) for n in range(40)]
    for candidate in line:
        slots.put(candidate.name, candidate)
    assert not slots.admission("t01", 1).admitted
    told.clear()
    slots.put("t20", line[20])
    slots.admission("t20", 1)
    assert told == []
    slots.put("t00", None)
    assert slots.admission("t01", 1).admitted
    assert told == [f"t{n:02}" for n in range(1, 12)]
    assert slots.admission("unknown", 1).admitted


def test_a_kept_place_is_not_given_away() -> None:
    slots = SlotTable(lambda _: None)
    for name in ("a", "b"):
        slots.put(name, Candidate(name, 0, T0, False))
    assert slots.admission("a", 1).admitted
    slots.put("a", Candidate("a", 0, T0, True))
    assert not slots.admission("b", 1).admitted
