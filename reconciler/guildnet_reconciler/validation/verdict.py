"""What is in a file: a resource, or problems. Pure, and the same in every process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from guildnet.errors import InvalidResource, Problem
from guildnet.resources import Org, Source, Task

LFS_POINTER = b"version https://git-lfs.github.com/spec/"

R = TypeVar("R", Org, Task)
Load = Callable[[bytes, Source], R]
"""`load_org` or `load_task`."""
Verdict = tuple[R | None, tuple[Problem, ...]]
"""The resource, or the problems of its file."""


class Validate(Protocol):
    """Returns one verdict for each file, in order."""

    def __call__(self, load: Load[R], files: Sequence[tuple[Source, bytes]]) -> list[Verdict[R]]:
        """Validate the files in this call; blocks."""


def validate_here(load: Load[R], files: Sequence[tuple[Source, bytes]]) -> list[Verdict[R]]:
    """Validate in this process and thread."""
    return [_one(load, source, content) for source, content in files]


def _one(load: Load[R], source: Source, content: bytes) -> Verdict[R]:
    if content.startswith(LFS_POINTER):
        return None, (Problem(source.path, 1, "a Git LFS pointer; commit the file itself"),)
    try:
        return load(content, source), ()
    except InvalidResource as error:
        return None, error.problems
