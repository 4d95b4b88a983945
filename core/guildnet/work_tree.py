"""Files of a checkout, opened from its root without following symlinks at any level.

A pull request can replace a folder by a symlink, so that its reviewer would read and write outside
the checkout. So each component of a path is opened relative to the one before.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guildnet.errors import ConfigurationError, InvalidResource, Problem

Kind = Literal["file", "folder", "symlink"]


@dataclass(frozen=True, slots=True)
class WorkTree:
    """The checkout in folder `root`. Paths are relative to it, with slashes.

    Methods raise InvalidResource for a path that leads through a symlink or does not end at a
    regular file, ConfigurationError when the file system refuses.
    """

    root: Path

    def kind(self, path: str) -> Kind | None:
        """The kind of the entry at the path; None without one. Sockets, pipes and devices count as
        `symlink`, because they must not be opened either."""
        try:
            with self._parent(path) as (parent, name):
                return _kind(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(path, error) from error

    def entries(self, path: str, max_entries: int) -> list[tuple[str, Kind]] | None:
        """(name, kind) of each entry of a folder; None for more than `max_entries`."""
        found: list[tuple[str, Kind]] = []
        try:
            with self._folder(path) as folder, os.scandir(folder) as scanned:
                for entry in scanned:
                    if len(found) == max_entries:
                        return None
                    found.append((entry.name, _kind(entry.stat(follow_symlinks=False).st_mode)))
        except OSError as error:
            raise _refused(path, error) from error
        return sorted(found)

    def read(self, path: str, max_bytes: int) -> tuple[int, bytes | None]:
        """(size, content) of a file, content None when it is larger. Raises FileNotFoundError."""
        try:
            with self._open(path, os.O_RDONLY) as descriptor:
                size = os.fstat(descriptor).st_size
                content = _read(descriptor, max_bytes + 1)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _refused(path, error) from error
        return max(size, len(content)), content if len(content) <= max_bytes else None

    def create(self, path: str, content: bytes) -> bool:
        """Write a new file and create its missing folders; False when the file exists."""
        try:
            with self._open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, make=True) as descriptor:
                _write(descriptor, content)
        except FileExistsError:
            return False
        except OSError as error:
            raise _unwritable(path, error) from error
        return True

    def make_folder(self, path: str) -> None:
        """Create a folder and its missing parents."""
        try:
            with self._folder(path, make=True):
                pass
        except OSError as error:
            raise _unwritable(path, error) from error

    def replace(self, path: str, content: bytes) -> None:
        """Overwrite an existing file."""
        try:
            with self._open(path, os.O_WRONLY) as descriptor:
                os.ftruncate(descriptor, 0)
                _write(descriptor, content)
        except OSError as error:
            raise _unwritable(path, error) from error

    @contextmanager
    def _open(self, path: str, flags: int, *, make: bool = False) -> Iterator[int]:
        with self._parent(path, make=make) as (parent, name):
            # O_NONBLOCK: opening a pipe would wait for its other end.
            safe = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                descriptor = os.open(name, safe, 0o666, dir_fd=parent)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                    raise _not_a_file(path) from error
                raise
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _not_a_file(path)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        folder, _, name = path.rpartition("/")
        with self._folder(folder, make=make) as parent:
            yield parent, name

    @contextmanager
    def _folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        current = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in filter(None, path.split("/")):
                if name in (".", ".."):
                    raise _not_a_file(path)
                current = _step(current, name, path, make=make)
            yield current
        finally:
            os.close(current)


def _step(parent: int, name: str, path: str, *, make: bool) -> int:
    """Open the folder `name` in `parent`, and close `parent`."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=parent)
        opened = os.open(name, flags, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            message = f"{name} is a link or not a folder; links are never followed"
            raise InvalidResource([Problem(path, 0, message)]) from error
        raise
    os.close(parent)
    return opened


def _kind(mode: int) -> Kind:
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "symlink"


def _read(descriptor: int, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = max_bytes
    while left and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _not_a_file(path: str) -> InvalidResource:
    message = "a symlink or another special file; only regular files are read and written"
    return InvalidResource([Problem(path, 0, message)])


def _refused(path: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"cannot be read: {error.strerror}", place=path)


def _unwritable(path: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"cannot be written: {error.strerror}", place=path)
