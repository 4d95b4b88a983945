"""The limit rises while a server answers quickly, falls otherwise, and stays within its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guildnet.kube.adaptive_limit import AdaptiveLimit, LimitBounds

BOUNDS = LimitBounds(floor=2, initial=8, ceiling=32, slow_seconds=0.5)

EVENTS = st.lists(
    st.tuples(st.sampled_from(["quick", "slow", "refused"]), st.booleans()), max_size=200
)


@given(EVENTS)
def test_the_limit_stays_within_its_bounds(events: list[tuple[str, bool]]) -> None:
    limit, now = AdaptiveLimit(BOUNDS), 0.0
    for kind, was_full in events:
        began, now = now, now + (5.0 if kind == "slow" else 0.01)
        if kind == "refused":
            limit.overloaded(began, now)
        else:
            limit.answered(began, now, was_full=was_full)
        assert BOUNDS.floor <= limit.limit <= BOUNDS.ceiling


def test_quick_answers_at_the_limit_raise_it_to_the_ceiling() -> None:
    limit = AdaptiveLimit(BOUNDS)
    for number in range(40):
        limit.answered(number, number + 0.01, was_full=True)
    assert limit.limit == BOUNDS.ceiling


def test_answers_below_the_limit_do_not_raise_it() -> None:
    limit = AdaptiveLimit(BOUNDS)
    for number in range(100):
        limit.answered(number, number + 0.01, was_full=False)
    assert limit.limit == BOUNDS.initial


def test_one_burst_of_refusals_cuts_the_limit_once() -> None:
    limit = AdaptiveLimit(BOUNDS)
    for _ in range(8):
        limit.overloaded(began=0.0, now=1.0)
    assert limit.limit == 5
    limit.overloaded(began=2.0, now=3.0)
    assert limit.limit == 3


def test_a_distant_server_is_not_overloaded() -> None:
    limit = AdaptiveLimit(BOUNDS)
    for number in range(100):
        limit.answered(number, number + 0.6, was_full=True)
    assert limit.limit == BOUNDS.ceiling


def test_slower_answers_cut_the_limit() -> None:
    limit = AdaptiveLimit(BOUNDS)
    limit.answered(0.0, 0.01, was_full=False)
    limit.answered(1.0, 3.0, was_full=True)
    assert limit.limit < BOUNDS.initial


def test_the_duration_of_a_large_list_is_ignored() -> None:
    limit = AdaptiveLimit(BOUNDS)
    limit.answered(0.0, 0.01, was_full=False)
    limit.answered(1.0, 9.0, was_full=False, timed=False)
    assert limit.limit == BOUNDS.initial
