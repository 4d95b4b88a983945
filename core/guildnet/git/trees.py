"""Parses trees and their differences: tree objects, output of ls-tree and diff-tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

FileKind = Literal["file", "folder", "symlink", "submodule"]

FOLDER_MODE = "040000"
REGULAR_MODES = frozenset({"100644", "100755"})
_KINDS: dict[str, FileKind] = {
    FOLDER_MODE: "folder",
    "120000": "symlink",
    "160000": "submodule",
}


def kind_of_mode(mode: str) -> FileKind:
    """The kind of entry that a mode means."""
    return _KINDS.get(mode, "file")


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a tree: `path` from the root, `mode` as git writes it, `blob` its object id."""

    path: str
    mode: str
    blob: str

    @property
    def kind(self) -> FileKind:
        """The kind of the entry; only a `file` may be read as a resource."""
        return kind_of_mode(self.mode)


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two commits; `mode` and `blob` are the new ones, "" for D."""

    path: str
    status: Literal["A", "M", "D"]
    mode: str
    blob: str

    @property
    def kind(self) -> FileKind:
        """The kind of the new entry; `file` for a deletion."""
        return kind_of_mode(self.mode)


def parse_tree(output: bytes) -> Iterator[tuple[str, str, str]]:
    """(path, mode, id) of each line of `git ls-tree -r -z`."""
    for line in _words(output):
        if line:
            meta, _, path = line.partition("\t")
            mode, _, oid = meta.split(" ", 2)
            yield path, mode, oid


def parse_tree_object(data: bytes, id_bytes: int) -> list[tuple[str, str, str]]:
    """(name, mode, id) of each entry of a tree object, one level. ValueError for damaged data."""
    pattern = rb"([0-7]{5,6}) ([^\0]+)\0(.{%d})" % id_bytes
    entries = re.findall(pattern, data, re.DOTALL)
    if sum(len(mode) + len(name) + 2 + id_bytes for mode, name, _ in entries) != len(data):
        raise ValueError("not a tree object")
    return [
        # Names in git are bytes.
        (name.decode("utf-8", "backslashreplace"), mode.decode().zfill(6), oid.hex())
        for mode, name, oid in entries
    ]


def parse_raw_diff(output: bytes) -> Iterator[Change]:
    """The changes of `git diff-tree -r -z --raw --no-abbrev --no-renames`."""
    return (change for _, change in parse_raw_diffs(output))


def parse_raw_diffs(output: bytes) -> Iterator[tuple[str, Change]]:
    """(commit, change) of `git diff-tree --stdin` with the same options, for many commits; the
    commit is "" where only two trees were compared."""
    commit = ""
    words = iter(_words(output))
    for word in words:
        if word.startswith(":"):
            yield commit, _change(word, next(words))
        elif word:
            commit = word


def _change(meta: str, path: str) -> Change:
    _, mode, _, oid, letter = meta.split(" ")
    if letter == "D":
        return Change(path, "D", "", "")
    # T, a change of type, counts as a modification: the new mode shows the type.
    return Change(path, "A" if letter == "A" else "M", mode, oid)


def _words(output: bytes) -> list[str]:
    # Names in git are bytes; names that are not UTF-8 must still be printable.
    return output.decode("utf-8", "backslashreplace").split("\0")
