"""The problems of a work tree, as it lies on disk, committed or not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from guildnet.errors import Problem
from guildnet.loading import MAX_FILE_BYTES
from guildnet_reconciler.offline.tree import read_tree
from guildnet_reconciler.steps.diff import PREFIXES, SourceFile, SourceIndex
from guildnet_reconciler.steps.load import BlobReader


def validate_tree(root: Path) -> list[Problem]:
    """Every problem of the orgs/ and tasks/ of a work tree, in the order of their places.

    Beyond each file by itself: tasks of an org that has no file, merged results that name nothing
    to run, dependencies that do not exist or go round in a circle.
    """
    index = SourceIndex("")
    paths: dict[str, Path] = {}
    for path, file in _work_tree(root):
        index.put(file)
        paths[file.blob] = path
    return sorted(set(read_tree(index, _file_reader(paths)).problems))


def _work_tree(root: Path) -> Iterator[tuple[Path, SourceFile]]:
    """The files under orgs/ and tasks/; links are told of and never followed."""
    for prefix in PREFIXES:
        for folder, folders, names in os.walk(root / prefix, followlinks=False):
            linked = [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in sorted([*names, *linked]):
                path = Path(folder) / name
                relative = path.relative_to(root).as_posix()
                problem = None
                if path.is_symlink() or not path.is_file():
                    problem = "a symlink; only regular files are read, links are never followed"
                yield path, SourceFile(relative, relative, problem)


def _file_reader(paths: Mapping[str, Path]) -> BlobReader:
    def read(ids: Iterable[str]) -> Iterator[tuple[str, int, bytes | None]]:
        for name in ids:
            with paths[name].open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            size = paths[name].stat().st_size
            yield name, size, content if len(content) <= MAX_FILE_BYTES else None

    return read
