"""Looks up and reads objects through one long-running git process.

A lookup costs microseconds instead of the start of a process; contents are read only once
their size is known.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, cast

from guildnet.errors import GitError
from guildnet.git.process import DAMAGED_CURE, IsolatedGit, end

# The requests of one batch must fit into a pipe (64 KiB), or both sides would deadlock.
_BATCH = 256
_MAX_NAME = 4096
_MAX_PIPED = 48 * 1024
_READ_AHEAD_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's id, type (blob, tree, commit, tag) and size in bytes."""

    id: str
    type: str
    size: int


class ObjectReader:
    """One `git cat-file --batch-command`, started on first use and restarted when it has died."""

    def __init__(self, commands: IsolatedGit) -> None:
        self._commands = commands
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        with self._lock:
            self._end()

    def info(self, name: str) -> ObjectInfo | None:
        """The object of `name` (an id, a ref, `commit:path`, `name^{tree}`); None without one."""
        return next(iter(self.infos([name])))

    def infos(self, names: Iterable[str]) -> Iterator[ObjectInfo | None]:
        """`info` for each name, in order."""
        rest = iter(names)
        while batch := list(islice(rest, _BATCH)):
            yield from self._infos(batch)

    def blobs(self, ids: Iterable[str], max_bytes: int) -> Iterator[tuple[str, int, bytes | None]]:
        """(id, size, content, or None above `max_bytes`). Raises GitError for an id that is not a
        blob."""
        rest = iter(ids)
        while batch := list(islice(rest, _BATCH)):
            for group in _groups(batch, self._sizes(batch), max_bytes):
                contents = self._contents([blob for blob, size in group if size <= max_bytes])
                for blob, size in group:
                    yield blob, size, next(contents) if size <= max_bytes else None

    def content(self, oid: str) -> bytes:
        """The object of this id, of any type and size. Raises GitError when it is missing."""
        return next(self._contents([oid]))

    def heads(self, ids: Iterable[str], max_bytes: int) -> Iterator[bytes]:
        """The first `max_bytes` of each object of any type; empty for objects above 4 MiB, which
        would take long to skip. Raises GitError for a missing id."""
        rest = iter(ids)
        while batch := list(islice(rest, _BATCH)):
            sizes = [found.size if found else 0 for found in self._infos(batch)]
            for group in _groups(batch, sizes, _READ_AHEAD_BYTES):
                read = [oid for oid, size in group if size <= _READ_AHEAD_BYTES]
                contents = self._contents(read, max_bytes)
                for _, size in group:
                    yield next(contents) if size <= _READ_AHEAD_BYTES else b""

    def _sizes(self, ids: list[str]) -> list[int]:
        sizes: list[int] = []
        for blob, found in zip(ids, self._infos(ids), strict=True):
            if found is None or found.type != "blob":
                raise GitError(f"{blob[:64]} is not a blob of this repository", place=self._place)
            sizes.append(found.size)
        return sizes

    def _infos(self, names: list[str]) -> list[ObjectInfo | None]:
        askable = [name for name in names if is_askable(name)]
        answers: list[ObjectInfo | None] = []
        with self._lock, self._exchange():
            for batch in _piped(askable):
                self._ask("info", batch)
                answers += [_parsed(self._line()) for _ in batch]
        found = iter(answers)
        return [next(found) if is_askable(name) else None for name in names]

    def _contents(self, ids: list[str], max_bytes: int | None = None) -> Iterator[bytes]:
        found: list[bytes] = []
        if ids:
            with self._lock, self._exchange():
                self._ask("contents", ids)
                for _ in ids:
                    header = _parsed(self._line())
                    if header is None:
                        raise EOFError
                    data = self._exactly(header.size + 1)
                    kept = header.size if max_bytes is None else min(header.size, max_bytes)
                    found.append(data[:kept])
        return iter(found)

    @property
    def _place(self) -> str:
        return self._commands.place

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        """End the process when an exchange fails half way: later answers would not match."""
        try:
            yield
        except (OSError, EOFError, ValueError) as error:
            self._end()
            folder = str(self._commands.git_dir)
            message = "an object cannot be read: the folder is damaged, or git was ended"
            raise GitError(message, place=folder, cure=DAMAGED_CURE) from error
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        if self._process is not None:
            end(self._process)
            self._process = None

    def _ask(self, verb: str, names: list[str]) -> None:
        if self._process is None:
            self._process = self._commands.start("cat-file", "--batch-command")
            # Its error output is not read; a full pipe would block it.
            cast("IO[bytes]", self._process.stderr).close()
        stdin = cast("IO[bytes]", self._process.stdin)
        stdin.write("".join(f"{verb} {name}\n" for name in names).encode())
        stdin.flush()

    def _line(self) -> str:
        line = cast("IO[bytes]", cast("subprocess.Popen[bytes]", self._process).stdout).readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line[:-1].decode("utf-8", "replace")

    def _exactly(self, size: int) -> bytes:
        data = cast("IO[bytes]", cast("subprocess.Popen[bytes]", self._process).stdout).read(size)
        if len(data) != size:
            raise EOFError
        return data


def is_askable(name: str) -> bool:
    """Whether `name` fits on one line of the protocol and cannot be read as something else."""
    _, colon, path = name.partition(":")
    if colon and path.startswith(("./", "../")):
        return False
    return 0 < len(name.encode("utf-8", "replace")) <= _MAX_NAME and not any(
        char in name for char in "\n\r\0"
    )


def _parsed(line: str) -> ObjectInfo | None:
    words = line.rsplit(" ", 2)
    if len(words) == 3 and words[2].isdigit():
        return ObjectInfo(words[0], words[1], int(words[2]))
    return None


def _piped(names: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        cost = len(name.encode()) + 16
        if batch and size + cost > _MAX_PIPED:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += cost
    if batch:
        yield batch


def _groups(ids: list[str], sizes: list[int], max_bytes: int) -> Iterator[list[tuple[str, int]]]:
    group: list[tuple[str, int]] = []
    total = 0
    for blob, size in zip(ids, sizes, strict=True):
        read = size if size <= max_bytes else 0
        if group and total + read > _READ_AHEAD_BYTES:
            yield group
            group, total = [], 0
        group.append((blob, size))
        total += read
    if group:
        yield group
