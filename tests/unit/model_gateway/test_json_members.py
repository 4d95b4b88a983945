"""Members of an object are found without reading the rest, exactly where `json` finds them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_agent.supervisor.model_gateway.json_members import (
    MAX_BRACKETS,
    NotJson,
    find,
    items,
    members,
    value_at,
)

# Half a surrogate pair cannot be sent: it has no UTF-8.
# At most 80 characters: a name is read up to 1024 bytes, and an escaped one has 12 a character.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(st.dictionaries(TEXTS, VALUES), st.sampled_from([None, 1, 3]), st.booleans())
def test_every_object_is_read_as_json_reads_it(
    value: dict[str, object], indent: int | None, is_ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    data = text.encode()
    found = {name: json.loads(data[a:b]) for name, (a, b) in members(data)}
    assert found == value


@given(st.lists(VALUES))
def test_every_array_is_split_as_json_splits_it(value: list[object]) -> None:
    data = json.dumps(value).encode()
    assert [json.loads(data[a:b]) for a, b in items(data)] == value


@given(st.binary(max_size=200))
def test_junk_is_refused_or_read_but_breaks_nothing(data: bytes) -> None:
    for text in (data, b'{"a":' + data, b"{" + data + b"}"):
        try:
            list(members(text))
        except NotJson:
            continue


def test_the_last_of_equal_names_is_found() -> None:
    data = b'{"a": 1, "b": {"a": 2}, "a": 3}'
    span = find(data, "a")
    assert span is not None
    assert value_at(data, span) == 3
    assert find(data, "c") is None


def test_structure_is_bounded() -> None:
    with pytest.raises(NotJson, match="too much structure"):
        list(members(b'{"a": ' + b"[]," * 0 + b"[" * (MAX_BRACKETS + 1)))
