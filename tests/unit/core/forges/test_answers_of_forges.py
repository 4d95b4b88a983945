"""I9: every answer of a forge gives a value or a ForgeUnavailable, never another exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.errors import ForgeUnavailable
from guildnet.forges.answers import refusal_message, utc, utc_of_milliseconds

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["message", "error", "errors", "fields", "code", "detail", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(JSON)
def test_a_refusal_of_any_shape_gives_a_message(answer: Any) -> None:
    assert isinstance(refusal_message(json.dumps(answer).encode()), str)


GITHUB = {"message": "Validation Failed", "errors": [{"field": "base", "code": "invalid"}]}
GITLAB = {"error": "insufficient_scope", "error_description": "api needed"}
BITBUCKET = {"error": {"message": "Bad request", "detail": "no such branch"}}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (GITHUB, "Validation Failed; base invalid"),
        ({"message": ["Another open one exists"]}, "Another open one exists"),
        ({"message": {"title": ["is too long"]}}, "title: is too long"),
        (GITLAB, "insufficient_scope; api needed"),
        (BITBUCKET, "Bad request; no such branch"),
        ({"errors": [{"message": "one"}, {"message": "two"}]}, "one; two"),
        ({}, ""),
    ],
)
def test_the_message_of_each_forge_is_found(answer: Any, message: str) -> None:
    """I10."""
    assert refusal_message(json.dumps(answer).encode()) == message


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff<html>", b""])
def test_a_refusal_that_is_not_json_gives_its_text(content: bytes) -> None:
    assert isinstance(refusal_message(content), str)


@pytest.mark.parametrize("timestamp", ["soon", "", "0001-01-01T00:00:00+14:00", "9" * 50])
def test_an_invalid_timestamp_is_reported(timestamp: str) -> None:
    with pytest.raises(ForgeUnavailable, match="a time"):
        utc(timestamp)


@pytest.mark.parametrize("milliseconds", [10**30, -(10**30), "1", None])
def test_invalid_milliseconds_are_reported(milliseconds: object) -> None:
    with pytest.raises(ForgeUnavailable, match="at is not a"):
        utc_of_milliseconds({"at": milliseconds}, "at")
