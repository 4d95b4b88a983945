"""Text of strangers can be written anywhere, and times to wait are times."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.backoff import LONGEST_WAIT, retry_after, seconds_until
from guildnet.text import clean_text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain\ttext\nof lines", "plain\ttext\nof lines"),
        ("half \ud800 a pair", "half \ufffd a pair"),
        ("\x1b[31mred\x00", "\ufffd[31mred\ufffd"),
        ("windows\r\nlines", "windows\nlines"),
    ],
)
def test_what_cannot_be_shown_is_replaced(text: str, cleaned: str) -> None:
    assert clean_text(text, 100) == cleaned


@given(st.text(alphabet=st.characters(exclude_categories=())), st.integers(0, 50))
def test_any_text_becomes_bounded_and_encodable(text: str, bound: int) -> None:
    assert len(clean_text(text, bound)) <= bound
    assert "\x00" not in clean_text(text, bound).encode().decode()


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        ("0", 0.5),
        ("-5", 0.5),
        ("0.000001", 0.5),
        ("1e9", LONGEST_WAIT),
        ("inf", LONGEST_WAIT),
        ("-inf", 0.5),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("²", None),
        ("9" * 5000, None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 1923 22:14:20 GMT", 0.5),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)
def test_a_time_to_wait_is_finite_and_bounded(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW, least=0.5) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1700000060", 60.0), ("1", 0.0), ("9" * 60, LONGEST_WAIT)]
    + [(other, None) for other in (None, "", "²", "-1", "1e9", "nan", "9" * 5000)],
)
def test_a_time_of_reset_is_finite_and_bounded(value: str | None, seconds: float | None) -> None:
    assert seconds_until(value, NOW) == seconds


@given(st.text() | st.floats().map(str), st.floats(0, 4e9))
def test_no_header_raises(value: str, now: float) -> None:
    for seconds in (retry_after(value, now), seconds_until(value, now)):
        assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= LONGEST_WAIT)
