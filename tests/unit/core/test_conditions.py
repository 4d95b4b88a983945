"""Conditions: in a fixed order; times move with the status alone; unchanged state stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from guildnet import conditions
from guildnet.conditions import TYPES, Condition, find, is_finished, is_true, merged

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CONDITIONS = st.builds(
    Condition,
    st.sampled_from(TYPES),
    st.sampled_from(get_args(conditions.Status)),
    st.sampled_from(["One", "Two"]),
    st.sampled_from(["", "why"]),
)
LISTS = st.lists(CONDITIONS, max_size=12)


def first(wanted: list[Condition]) -> list[dict[str, Any]]:
    return merged([], wanted, generation=1, now=NOW)


@given(LISTS)
def test_each_type_stands_once_in_reading_order(wanted: list[Condition]) -> None:
    types = [c["type"] for c in first(wanted)]
    assert types == sorted(set(types), key=TYPES.index)
    assert set(types) == {c.type for c in wanted}


@given(LISTS)
def test_the_same_state_later_changes_nothing(wanted: list[Condition]) -> None:
    """I4: a second pass over the same state has nothing to write."""
    # The last of each type counts; merging it again gives the same state.
    settled = list({c.type: c for c in wanted}.values())
    before = first(settled)
    assert merged(before, settled, generation=1, now=NOW + timedelta(hours=1)) == before


@given(LISTS, LISTS)
def test_times_move_with_the_status_alone(old: list[Condition], new: list[Condition]) -> None:
    settled = list({c.type: c for c in new}.values())
    before = first(old)
    after = merged(before, settled, generation=2, now=NOW + timedelta(hours=1))
    for condition in after:
        earlier = find(before, condition["type"])
        moved = condition["lastTransitionTime"] == "2026-05-01T01:00:00Z"
        assert moved == (earlier is None or earlier["status"] != condition["status"])


@given(LISTS, LISTS)
def test_what_is_not_named_stays(old: list[Condition], new: list[Condition]) -> None:
    before = first(old)
    after = merged(before, new, generation=2, now=NOW)
    named = {c.type for c in new}
    for condition in before:
        assert condition["type"] in named or condition in after


def test_what_is_there_is_not_changed_in_place() -> None:
    before = first([Condition("Ready", "False", "One")])
    copy = [dict(c) for c in before]
    merged(before, [Condition("Ready", "True", "Two")], generation=2, now=NOW)
    assert before == copy


def test_messages_are_bounded() -> None:
    assert len(first([Condition("Ready", "False", "One", "x" * 5000)])[0]["message"]) == 1024


def test_the_end_of_an_older_run_does_not_count() -> None:
    """I7: a finished run stays finished, and finishes no other."""
    ended: dict[str, Any] = {
        "run": 1,
        "conditions": first([Condition("Finished", "True", "TaskSucceeded")]),
    }
    assert is_finished(ended, 1)
    assert not is_finished(ended, 2)
    assert not is_finished({}, 0)
    assert is_true(ended["conditions"], "Finished")
    assert find([], "Ready") is None
    assert not is_true([], "Ready")
