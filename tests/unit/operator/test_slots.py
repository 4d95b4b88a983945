"""Which AgentTasks get a slot, and in which order the others wait."""

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
def test_max_active_bounds_admissions_and_revokes_none(
    everyone: list[Candidate], max_active: int
) -> None:
    result = admissions(everyone, max_active)
    active = {c.name for c in everyone if c.active}
    admitted = {name for name, admission in result.items() if admission.admitted}
    assert set(result) == {c.name for c in everyone}
    assert active <= admitted
    assert len(admitted) <= max(max_active, len(active))
    positions = sorted(p.position for p in result.values() if not p.admitted)
    assert positions == list(range(1, len(positions) + 1))


@settings(deadline=None)
@given(candidates, st.integers(0, 10))
def test_higher_priority_and_older_tasks_go_first(
    everyone: list[Candidate], max_active: int
) -> None:
    result = admissions(everyone, max_active)
    entered = [c for c in everyone if not c.active and result[c.name].admitted]
    left = [c for c in everyone if not result[c.name].admitted]
    for inside in entered:
        for outside in left:
            assert (-inside.priority, inside.since) <= (-outside.priority, outside.since)


def test_a_far_position_is_not_shown() -> None:
    """Each end of a run would otherwise rewrite every waiting status."""
    queue = [Candidate(f"t{n}", 0, T0 + timedelta(minutes=n), False) for n in range(40)]
    result = admissions(queue, 0)
    assert (
        result["t20"].message
        == result["t30"].message
        == ("behind at least 10 others in the queue; limits.maxActive is 0")
    )
    longer = admissions([*queue, Candidate("last", 0, T0 + timedelta(hours=1), False)], 0)
    assert [longer[c.name].message for c in queue] == [result[c.name].message for c in queue]
    assert result["t2"].message == "3rd of more than 10 in the queue; limits.maxActive is 0"


def test_ordinals() -> None:
    places_ = [Admission(False, position, 1, 10).message.split()[0] for position in range(1, 11)]
    assert places_ == ["1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "10th"]


def test_a_waiting_task_does_not_queue_an_active_one() -> None:
    """I4, I5: nothing changes for the active task when another one waits."""
    changed: list[str] = []
    slots = SlotTable(changed.append)
    slots.put("works", Candidate("works", 0, T0, True))
    slots.admission("works", 1)
    changed.clear()
    slots.put("waits", Candidate("waits", 0, T0, False))
    assert slots.admission("waits", 1).position == 1
    assert changed == ["waits"]
    assert slots.admission("works", 1).waiting == 1
    assert (slots.active, slots.waiting) == (1, 1)


def test_only_changed_admissions_are_reported() -> None:
    """I5: the end of a run queues the next task, not every waiting one."""
    changed: list[str] = []
    slots = SlotTable(changed.append)
    queue = [Candidate(f"t{n:02}", 0, T0 + timedelta(minutes=n), n == 0) for n in range(40)]
    for candidate in queue:
        slots.put(candidate.name, candidate)
    assert not slots.admission("t01", 1).admitted
    changed.clear()
    slots.put("t20", queue[20])
    slots.admission("t20", 1)
    assert changed == []
    slots.put("t00", None)
    assert slots.admission("t01", 1).admitted
    assert changed == [f"t{n:02}" for n in range(1, 12)]
    assert slots.admission("unknown", 1).admitted


def test_a_held_slot_is_not_assigned_twice() -> None:
    slots = SlotTable(lambda _: None)
    for name in ("a", "b"):
        slots.put(name, Candidate(name, 0, T0, False))
    assert slots.admission("a", 1).admitted
    slots.put("a", Candidate("a", 0, T0, True))
    assert not slots.admission("b", 1).admitted
