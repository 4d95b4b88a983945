"""The members of a JSON object without reading the rest of it.

Requests and answers hold megabytes of conversation, written by strangers; the gateway needs three
of their fields. Values are skipped by their brackets, so memory does not grow with the input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_BRACKETS = 1_000_000
"""More structure than this is refused: it bounds the time that one body takes (0.3 s)."""

MAX_MEMBERS = 256
MAX_VALUE_BYTES = 256 * 1024

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\[\]{}\"]++")
# Everything up to the next bracket outside of strings.
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+"[^"\[\]{}]*+)*+', re.DOTALL)

Span = tuple[int, int]


class NotJson(ValueError):
    """Not a JSON value of the expected kind, or too much of it."""


def members(data: bytes, start: int = 0) -> Iterator[tuple[str, Span]]:
    """(name, span of the value) for each member of the object at ``start``. NotJson."""
    at = _after_space(data, start)
    if data[at : at + 1] != b"{":
        raise NotJson("not a JSON object")
    at = _after_space(data, at + 1)
    if data[at : at + 1] == b"}":
        return
    for _ in range(MAX_MEMBERS):
        name = _STRING.match(data, at)
        if name is None:
            raise NotJson("a member without a name")
        at = _after_space(data, name.end())
        if data[at : at + 1] != b":":
            raise NotJson("a member without a value")
        begin = _after_space(data, at + 1)
        end = _skip_value(data, begin)
        yield _decode_name(name[0]), (begin, end)
        at = _after_space(data, end)
        if data[at : at + 1] == b"}":
            return
        if data[at : at + 1] != b",":
            raise NotJson("the object does not end")
        at = _after_space(data, at + 1)
    raise NotJson(f"more than {MAX_MEMBERS} members")


def items(data: bytes) -> Iterator[Span]:
    """The span of each item of an array; stops without an error where the array is cut off."""
    at = _after_space(data, 0)
    if data[at : at + 1] != b"[":
        raise NotJson("not a JSON array")
    at = _after_space(data, at + 1)
    while at < len(data) and data[at : at + 1] != b"]":
        try:
            end = _skip_value(data, at)
        except NotJson:
            return
        yield at, end
        at = _after_space(data, end)
        if data[at : at + 1] == b",":
            at = _after_space(data, at + 1)


def is_array(data: bytes) -> bool:
    at = _after_space(data, 0)
    return data[at : at + 1] == b"["


def value_at(data: bytes, span: Span) -> Any:
    """The value itself; NotJson beyond `MAX_VALUE_BYTES`."""
    begin, end = span
    if end - begin > MAX_VALUE_BYTES:
        raise NotJson("a value is too large")
    try:
        return json.loads(data[begin:end])
    except (ValueError, RecursionError) as error:
        raise NotJson("a value is not JSON") from error


def find(data: bytes, name: str, start: int = 0) -> Span | None:
    """The span of the last member with this name, None where there is none. NotJson."""
    found = None
    for key, span in members(data, start):
        if key == name:
            found = span
    return found


def _decode_name(raw: bytes) -> str:
    if len(raw) > 1024:
        raise NotJson("a member's name is too long")
    try:
        return str(json.loads(raw))
    except ValueError as error:
        raise NotJson("a member's name is not JSON") from error


def _after_space(data: bytes, at: int) -> int:
    match = _SPACE.match(data, at)
    return match.end() if match else at


def _skip_value(data: bytes, at: int) -> int:
    opening = data[at : at + 1]
    if opening == b'"':
        match = _STRING.match(data, at)
    elif opening in (b"{", b"["):
        return _skip_brackets(data, at)
    else:
        match = _SCALAR.match(data, at)
    if match is None:
        raise NotJson("a value is missing or cut off")
    return match.end()


def _skip_brackets(data: bytes, at: int) -> int:
    depth = 0
    for _ in range(MAX_BRACKETS):
        match = _TO_BRACKET.match(data, at)
        at = match.end() if match else at
        bracket = data[at : at + 1]
        if not bracket or bracket == b'"':
            raise NotJson("a value is cut off")
        depth += 1 if bracket in b"{[" else -1
        at += 1
        if depth == 0:
            return at
    raise NotJson("too much structure")
