"""The volume that both containers share: its layout, and functions to read it without trust.

Only the supervisor writes ``in/``. The work container writes ``out/``, and the command can put
anything there, so the supervisor reads it only through `read_regular` and `copy_regular`: regular
files, bounded in size, and no links at any level.

    in/job.json                    the Job to run
    in/stop.json                   a Stop: end that start
    in/notices                     lines of the supervisor for the command's log
    in/contexts/<name>.git         a bare repository
    in/contexts/<name>             a text or a fetched file
    in/contexts/<name>.d/          the files of a ConfigMap
    out/<run>.<attempt>.<start>/   begun.json, result.json, work.bundle, checkpoint.bundle,
                                   log, log.1, artifacts/
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

JOB = "job.json"
STOP = "stop.json"
NOTICES = "notices"
CONTEXTS = "contexts"
BEGUN = "begun.json"
RESULT = "result.json"
BUNDLE = "work.bundle"
CHECKPOINT = "checkpoint.bundle"
LOG = "log"
OLD_LOG = "log.1"
ARTIFACTS = "artifacts"

START_REF = "refs/guildnet/start"  # in a context's repository: where the work starts from
WORK_REF = "refs/guildnet/work"  # in the bundle: the tip of the work
CHECKPOINT_REF = (
    "refs/guildnet/checkpoint"  # in a checkpoint's bundle and in a context's repository
)

MAX_RESULT_BYTES = 16 * 1024
MAX_NOTICES_BYTES = 64 * 1024
MAX_LOG_BYTES = 512 * 1024
CONTEXT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?\Z")


class ExchangeRefused(Exception):
    """An entry in the exchange is not a regular file of the expected size and form."""


class ExchangeTooLarge(ExchangeRefused):
    """A regular file is larger than allowed."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write, sync and rename, so that a reader sees either the old file or the complete new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with open(open_new(temporary), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def open_new(path: Path) -> int:
    """Replace ``path`` with a new, empty file; return its descriptor. Raises OSError.

    An existing entry is not opened: a pipe would block the writer, a link would lead elsewhere.
    """
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o666)


def fingerprint(root: Path, relative: str) -> tuple[int, int, int] | None:
    """A value that changes when a file under ``root`` is replaced; None if it is missing."""
    try:
        with _opened(root, relative) as descriptor:
            if descriptor is None:
                return None
            status = os.fstat(descriptor)
    except ExchangeRefused:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_regular(root: Path, relative: str, limit: int) -> bytes | None:
    """Read a regular file under ``root``; None if it does not exist.

    ``root`` itself is trusted (a mount point), nothing below it. ExchangeRefused for a link at
    any level, for anything but a regular file, and for more than ``limit`` bytes.
    """
    with _opened(root, relative) as descriptor:
        if descriptor is None:
            return None
        data = b""
        while len(data) <= limit and (piece := os.read(descriptor, limit + 1 - len(data))):
            data += piece
    if len(data) > limit:
        raise ExchangeTooLarge(f"{relative} is larger than {limit} bytes")
    return data


def copy_regular(root: Path, relative: str, target: Path, limit: int) -> bool:
    """Copy a regular file out of the exchange; False if it does not exist.

    Raises like `read_regular`, and then does not leave a ``target``.
    """
    with _opened(root, relative) as descriptor:
        if descriptor is None:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        copied = 0
        with open(target, "wb") as file:
            while copied <= limit and (piece := os.read(descriptor, 1024 * 1024)):
                copied += len(piece)
                file.write(piece)
    if copied > limit:
        target.unlink()
        raise ExchangeTooLarge(f"{relative} is larger than {limit} bytes")
    return True


def list_names(root: Path, relative: str, limit: int) -> list[str]:
    """The first ``limit`` names in a folder, sorted; empty if it is missing or not a folder."""
    try:
        descriptor = _open_folder(root, relative.split("/"))
    except (FileNotFoundError, ExchangeRefused):
        return []
    try:
        names = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) >= limit:
                    break
        return sorted(names)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(root: Path, relative: str) -> Iterator[int | None]:
    """Open a regular file; None if it does not exist."""
    *folders, name = relative.split("/")
    descriptor = None
    try:
        parent = _open_folder(root, folders)
        try:
            # O_NONBLOCK: opening a named pipe must not wait for its other end.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        finally:
            os.close(parent)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ExchangeRefused(f"{relative} is not a regular file")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ExchangeRefused(f"{relative} is not a regular file: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_folder(root: Path, parts: list[str]) -> int:
    """Open a folder below ``root`` without following links; the caller closes the descriptor."""
    if any(part in ("", ".", "..") for part in parts):
        raise ExchangeRefused("a path in the exchange may contain only plain names")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        try:
            below = os.open(part, flags, dir_fd=descriptor)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ExchangeRefused(f"{part} is not a folder: {error.strerror}") from error
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor
