"""Pauses between tries grow to a bound, and are spread."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from guildnet.backoff import Backoff, spread

BACKOFF = Backoff(timedelta(seconds=1), timedelta(seconds=60))


def test_each_failure_doubles_the_pause_up_to_the_longest() -> None:
    seconds = [BACKOFF.ceiling(failures).total_seconds() for failures in (1, 2, 3, 6, 7, 8)]
    assert seconds == [1, 2, 4, 32, 60, 60]


@given(st.integers(0, 10**9))
def test_a_pause_is_at_most_a_fifth_shorter_than_its_ceiling(failures: int) -> None:
    ceiling = BACKOFF.ceiling(failures)
    assert 0.79 * ceiling <= BACKOFF.pause(failures) <= ceiling
    assert ceiling <= BACKOFF.longest


def test_clients_that_failed_together_come_back_at_different_times() -> None:
    assert len({BACKOFF.pause(5) for _ in range(50)}) > 25


def test_without_jitter_pauses_are_exact() -> None:
    exact = Backoff(timedelta(seconds=10), timedelta(minutes=5), jitter=0.0)
    assert exact.pause(2) == timedelta(seconds=20)


@given(st.integers(0, 10_000).map(lambda seconds: timedelta(seconds=seconds)))
def test_a_period_is_only_ever_shortened(period: timedelta) -> None:
    assert 0.9 * period <= spread(period, 0.1) <= period
