"""I9: whatever a forge answers is a value or a named failure, never a crash of another kind."""

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
def test_a_refusal_of_any_shape_has_words(told: Any) -> None:
    assert isinstance(refusal_message(json.dumps(told).encode()), str)


GITHUB = {"message": "Validation Failed", "errors": [{"field": "base", "code": "invalid"}]}
GITLAB = {"error": "insufficient_scope", "error_description": "api needed"}
BITBUCKET = {"error": {"message": "Bad request", "detail": "no such branch"}}


@pytest.mark.parametrize(
    ("told", "words"),
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
def test_the_words_of_each_forge_are_found(told: Any, words: str) -> None:
    """I10."""
    assert refusal_message(json.dumps(told).encode()) == words


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff<html>", b""])
def test_what_is_no_json_is_shown_as_it_is(content: bytes) -> None:
    assert isinstance(refusal_message(content), str)


@pytest.mark.parametrize("timestamp", ["soon", "", "0001-01-01T00:00:00+14:00", "9" * 50])
def test_what_is_no_time_is_named(timestamp: str) -> None:
    with pytest.raises(ForgeUnavailable, match="a time"):
        utc(timestamp)


@pytest.mark.parametrize("milliseconds", [10**30, -(10**30), "1", None])
def test_what_are_no_milliseconds_are_named(milliseconds: object) -> None:
    with pytest.raises(ForgeUnavailable, match="at is not a"):
        utc_of_milliseconds({"at": milliseconds}, "at")
