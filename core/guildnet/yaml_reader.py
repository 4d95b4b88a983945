"""Parses untrusted YAML into plain JSON values, with the line of each value.

Bytes, nodes and depth are bounded, so that any file costs milliseconds of CPU. This module knows
YAML; `validation` and `loading` know resources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import yaml

from guildnet.errors import InvalidResource, Problem

MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 5000
"""Values and collections in one file. The largest resource that the schemas accept has about half
as many; the CPU that a file costs grows with them."""
MAX_DIRECTIVES = 8
"""libyaml compares each %TAG directive with all earlier ones."""

# YAML 1.2's core schema: `no`, `on` and `12:30` are strings.
_WORDS: Mapping[str, Any] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# What YAML accepts, except the three line breaks of YAML 1.1 that no editor counts as lines: they
# would make line numbers wrong, and other parsers would read the text differently.
_UNFIT = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DIRECTIVE = re.compile("(?:^|[\n\r])%")
# Arguments of programs and UTF-8 cannot contain these; only escapes can produce them.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_STRING_TAG = "tag:yaml.org,2002:str"

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader: PyYAML's own rejects files that libyaml accepts, such as some with tabs."""

Place = tuple[str | int, ...]


def parse_yaml(data: bytes, path: str) -> tuple[Any, Mapping[Place, int]]:
    """One YAML document as plain JSON values, and the line of each place in it.

    Raises InvalidResource for more than 256 KiB, more than 5,000 values, more than one document,
    anchors and aliases, duplicate keys, tags, deep nesting, control characters, and whatever is
    not YAML.
    """
    if len(data) > MAX_FILE_BYTES:
        message = f"{len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read"
        raise InvalidResource([Problem(path, 0, message)])
    try:
        return _Builder(path).build(yaml.parse(_text(data, path), Loader=LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        reason = ": ".join(filter(None, (error.context, error.problem)))
        raise InvalidResource([Problem(path, line, f"not valid YAML: {reason}")]) from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InvalidResource([Problem(path, 0, f"not valid YAML: {reason}")]) from error


def line_of(lines: Mapping[Place, int], place: Place) -> int:
    """The line of `place`, or of the nearest enclosing value."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def plain_value(text: str) -> Any:
    """The value of an unquoted scalar in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= 20 else text
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if number not in (float("inf"), float("-inf")) else text
    return text


def _text(data: bytes, path: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidResource([Problem(path, line, "not UTF-8 text")]) from error
    unfit = _UNFIT.search(text)
    if unfit:
        line = text.count("\n", 0, unfit.start()) + 1
        message = f"not valid YAML: U+{ord(unfit[0]):04X} is not allowed; write it as an escape"
        raise InvalidResource([Problem(path, line, message)])
    if sum(1 for _ in islice(_DIRECTIVE.finditer(text), MAX_DIRECTIVES + 1)) > MAX_DIRECTIVES:
        message = f"more than {MAX_DIRECTIVES} lines begin with %; remove the YAML directives"
        raise InvalidResource([Problem(path, 0, message)])
    return text


class _Builder:
    """Builds values from parser events without recursion, with a limit on depth."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: dict[Place, int] = {}
        self._stack: list[tuple[Any, Place]] = []  # open collections and their places
        self._keys: list[str | None] = []  # per open collection: the key that waits for a value
        self._root: Any = None
        self._documents = 0
        self._nodes = 0

    def build(self, events: Iterator[Any]) -> tuple[Any, Mapping[Place, int]]:
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    self._refuse(line, "more than one document; keep one object per file")
            elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                self._refuse(line, "anchors and aliases are not supported; write the value out")
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event, line)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._stack.pop()
                self._keys.pop()
        if not self._documents:
            self._refuse(1, "the file is empty")
        return self._root, self._lines

    def _count(self, line: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(line, f"more than {MAX_NODES:,} values; split the file into smaller ones")

    def _refuse(self, line: int, message: str) -> None:
        raise InvalidResource([Problem(self._path, line, message)])

    @property
    def _awaits_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0], dict) and self._keys[-1] is None

    def _scalar(self, event: Any, line: int) -> None:
        self._count(line)
        if event.tag is not None and event.tag != _STRING_TAG:
            self._refuse(line, f"the tag {event.tag} is not supported")
        if _UNUSABLE.search(event.value):
            self._refuse(line, "a text with a NUL or half a surrogate pair")
        if self._awaits_key:
            self._key(event.value, line)
        else:
            plain = event.implicit[0] and not event.style
            self._place(plain_value(event.value) if plain else event.value, line)

    def _key(self, key: str, line: int) -> None:
        mapping, place = self._stack[-1]
        if key in mapping:
            self._refuse(line, f"duplicate key {key!r}")
        self._keys[-1] = key
        self._lines[(*place, key)] = line

    def _open(self, collection: Any, event: Any, line: int) -> None:
        self._count(line)
        if len(self._stack) >= MAX_DEPTH:
            self._refuse(line, f"nested more than {MAX_DEPTH} deep")
        if event.tag is not None:
            self._refuse(line, f"the tag {event.tag} is not supported")
        if self._awaits_key:
            self._refuse(line, "a key must be a word, not a collection")
        place = self._place(collection, line)
        self._stack.append((collection, place))
        self._keys.append(None)

    def _place(self, value: Any, line: int) -> Place:
        if not self._stack:
            self._root = value
            place: Place = ()
        else:
            parent, above = self._stack[-1]
            if isinstance(parent, dict):
                key = self._keys[-1]
                assert key is not None
                parent[key] = value
                self._keys[-1] = None
                return (*above, key)
            place = (*above, len(parent))
            parent.append(value)
        self._lines[place] = line
        return place
