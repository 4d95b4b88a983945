"""The problems of a work tree, as it lies on disk, committed or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from guildnet.errors import Problem
from guildnet.loading import MAX_FILE_BYTES
from guildnet.work_tree import WorkTree
from guildnet_reconciler.offline.tree import read_tree
from guildnet_reconciler.steps.diff import SourceIndex
from guildnet_reconciler.steps.listing import Node


def validate_tree(root: Path) -> list[Problem]:
    """Every problem of the orgs/ and tasks/ of a work tree, in the order of their places.

    Beyond each file by itself: tasks of an org that has no file, merged results that name nothing
    to run, dependencies that do not exist or go round in a circle.
    """
    tree = WorkTree(root)
    index = SourceIndex.of("", _Folders(tree))
    return sorted(set(read_tree(index, lambda paths: _read(tree, paths)).problems))


@dataclass(frozen=True, slots=True)
class _Folders:
    """Implements `listing.TreeReader`; a file's path stands in for its blob's id."""

    tree: WorkTree

    def find(self, path: str) -> Node | None:
        kind = self.tree.kind(path)
        return None if kind is None else Node(path, kind)

    def children(self, folder: Node, max_entries: int) -> list[Node] | None:
        found = self.tree.entries(folder.path, max_entries)
        if found is None:
            return None
        paths = ((f"{folder.path}/{name}", kind) for name, kind in found)
        return [Node(path, kind, "" if kind == "folder" else path) for path, kind in paths]


def _read(tree: WorkTree, paths: Iterable[str]) -> Iterator[tuple[str, int, bytes | None]]:
    for path in paths:
        yield path, *tree.read(path, MAX_FILE_BYTES)
