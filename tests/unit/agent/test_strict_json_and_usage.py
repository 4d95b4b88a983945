"""Artifacts are strict JSON, and usage is an object of bounded numbers (I9)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_agent.supervisor.strict_json import MAX_DEPTH, parse_strict
from guildnet_agent.supervisor.usage import MAX_NUMBERS, check_usage

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Only text that UTF-8 can encode: no lone surrogates.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_valid_json_is_accepted(value: Any) -> None:
    assert parse_strict(json.dumps(value).encode()) == value
    assert parse_strict(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "too large"),
        (b'{"a": 1, "a": 2}', "duplicate"),
        (b'{"a": {"b": 1, "b": 1}}', "duplicate"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested deeper"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        (b'{"a": "\xff"}', "utf-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"{", "Expecting"),
        (b"", "Expecting"),
        (b"1" * 5000, "digits"),
    ],
)
def test_ambiguous_json_is_rejected(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_strict(data)


def test_nesting_up_to_the_limit_is_accepted() -> None:
    assert parse_strict(b"[" * (MAX_DEPTH - 1) + b"1" + b"]" * (MAX_DEPTH - 1))


def test_usage_is_numbers_by_name() -> None:
    used = {"inputTokens": 12_000, "outputTokens": 900, "costUsd": 0.042}
    assert check_usage(used) == used
    assert check_usage({}) == {}


@pytest.mark.parametrize(
    "value",
    [
        [],
        "much",
        {"model": "x"},
        {"tokens": True},
        {"tokens": -1},
        {"tokens": 10**16},
        {"tokens": math.nan},
        {"tokens": {"input": 1}},
        {"in put": 1},
        {"x" * 41: 1},
        {"": 1},
        {f"n{number}": 1 for number in range(MAX_NUMBERS + 1)},
    ],
)
def test_other_values_are_rejected_as_usage(value: Any) -> None:
    with pytest.raises(ValueError, match="usage"):
        check_usage(value)
