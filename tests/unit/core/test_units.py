"""Durations, quantities and times: what the schema takes parses, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.units import parse_duration, parse_quantity, parse_time, rfc3339

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("smhd")), min_size=1, max_size=4))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{count}{unit}" for count, unit in parts)
    seconds = sum(n * SECONDS[u] for n, u in parts)
    assert parse_duration(text) == timedelta(seconds=min(seconds, 36_500 * 86_400))


@pytest.mark.parametrize("text", ["9" * 31 + "d", "999999999d", "9999999d" * 4])
def test_a_time_and_the_longest_duration_still_make_a_time(text: str) -> None:
    """I3: one absurd timeout must not end the pass or the handler that counts with it."""
    assert (datetime(2026, 1, 1, tzinfo=UTC) + parse_duration(text)).year == 2125


@pytest.mark.parametrize("text", ["", "1", "h", "1w", "-1h", "1.5h", " 1h", "1h ", "1h\n", "1H"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("7", 7),
        ("1Ki", 1024),
        ("256Ki", 262144),
        ("1.5Gi", 3 * 2**29),
        ("2k", 2000),
        ("1M", 10**6),
        ("500m", 1),
        ("1500m", 2),
        ("3Ti", 3 * 2**40),
    ],
)
def test_a_quantity(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "Ki", "1K", "-1", "1e3", "1 Ki", "0x10", "1Ki\n"])
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_a_time_comes_back_to_the_second(moment: datetime) -> None:
    assert parse_time(rfc3339(moment)) == moment.replace(microsecond=0)


def test_times_are_utc_and_aware() -> None:
    there = datetime(2026, 5, 1, 3, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(there) == "2026-05-01T01:00:00Z"
    assert parse_time("2026-05-01T01:00:00").tzinfo is UTC
    assert parse_time("2026-05-01T03:00:00+02:00") == there
