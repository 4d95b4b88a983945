"""The problems of a work tree on disk, committed or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from guildnet.errors import ConfigurationError, Problem
from guildnet.loading import MAX_FILE_BYTES
from guildnet.work_tree import WorkTree
from guildnet_reconciler.offline.staged import staged_contents
from guildnet_reconciler.offline.talos import talos_problems
from guildnet_reconciler.offline.tree import Tree, read_tree
from guildnet_reconciler.source.index import SourceIndex
from guildnet_reconciler.source.listing import TOPS, Node


def validate_tree(root: Path) -> tuple[list[Problem], int]:
    """Every problem of the orgs/ and tasks/ of a work tree, in the order of their paths, and how
    many files were read.

    Beyond each file by itself: tasks of an org that has no file, merged results that name nothing
    to run, dependencies that do not exist or go round in a circle, and the patches of Talos
    machines. Raises ConfigurationError for a folder that has neither orgs/ nor tasks/.
    """
    tree = WorkTree(root)
    if all(tree.kind(top) is None for top in TOPS):
        raise ConfigurationError(
            "not a state repository: it has neither orgs/ nor tasks/",
            place=str(root),
            cure="Name the state repository's folder, or lay one out with `guildnet init`.",
        )
    found = read_work_tree(root)
    files = len(found.index.orgs) + sum(map(len, found.index.tasks.values()))
    patches = [problem for org in found.orgs.values() for problem in talos_problems(tree, org)]
    return sorted({*found.problems, *patches}), files


def read_work_tree(root: Path) -> Tree:
    """The orgs and tasks of a work tree, and their problems.

    Files that a git filter rewrites are read as they are staged: that is what is committed.
    """
    tree = WorkTree(root)
    index = SourceIndex.of("", _Folders(tree))
    files = [*index.orgs.values(), *(f for files in index.tasks.values() for f in files.values())]
    paths = [file.path for file in files if file.problem is None]
    staged = staged_contents(root, paths)
    found = read_tree(index, lambda wanted: _read(tree, staged, wanted))
    found.problems += [
        Problem(
            path, 0, "a git filter rewrites it; `git add` it, so that what is committed is read"
        )
        for path, blob in staged.items()
        if blob is None
    ]
    return found


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


def _read(
    tree: WorkTree, staged: Mapping[str, bytes | None], paths: Iterable[str]
) -> Iterator[tuple[str, int, bytes | None]]:
    for path in paths:
        content = staged.get(path)
        if content is None:
            yield path, *tree.read(path, MAX_FILE_BYTES)
        elif len(content) > MAX_FILE_BYTES:
            yield path, len(content), None
        else:
            yield path, len(content), content
