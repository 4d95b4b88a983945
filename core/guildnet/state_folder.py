"""The state directory of this machine: where it is, private to its owner, one process a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from guildnet.errors import ConfigurationError

_MAX_HOLDER_BYTES = 256


def state_folder() -> Path:
    """`GUILDNET_STATE_DIR`, or ~/.guildnet/state where that is unset: an absolute path."""
    return Path(os.environ.get("GUILDNET_STATE_DIR") or "~/.guildnet/state").expanduser().resolve()


def kubeconfig_path(name: str, folder: Path | None = None) -> Path:
    """Where the kubeconfig called `name` is stored, in `folder` or in this machine's state folder.

    `name` has the form of an org's name.
    """
    return (folder or state_folder()) / "kube" / f"{name}.config"


def notify_secret_path(org: str, name: str, folder: Path | None = None) -> Path:
    """Where a secret of the org's receivers of notifications is stored: an org's file can only
    name secrets of its own org. Both names have the form of an org's name."""
    return (folder or state_folder()) / "notify" / org / name


def stored_kubeconfigs() -> list[str]:
    """The names of the stored kubeconfigs."""
    paths = (state_folder() / "kube").glob("*.config")
    return sorted(path.name.removesuffix(".config") for path in paths)


def private_folder(path: Path) -> None:
    """Create the folder by `make_private`; remove the permissions of others from one of ours."""
    make_private(path)
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o077:
        path.chmod(stat.S_IMODE(found.st_mode) & 0o700)


def make_private(path: Path) -> None:
    """Create the folder and its missing parents, accessible to their owner alone under any
    umask."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)


def open_private(path: str, flags: int) -> int:
    """An `opener` for `open` that creates files which only their owner can read."""
    return os.open(path, flags, 0o600)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can ever read; replace an existing file atomically."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)


def lock_folder(folder: Path, component: str) -> FolderLock:
    """Create `folder` as private and lock it for `component`, such as `reconciler`.

    Raises ConfigurationError if the folder cannot be written, or if another process has the lock.
    """
    try:
        private_folder(folder)
        return FolderLock(folder / f"{component}.lock", f"the {component}")
    except OSError as error:
        raise ConfigurationError(
            f"the folder cannot be written: {error.strerror}",
            place=str(folder),
            cure="Make the state folder writable, or set GUILDNET_STATE_DIR to another folder.",
        ) from error


class FolderLock:
    """A lock that reserves a folder for this process until it is closed or the process ends.

    The process owns the lock: it may take it again, and the folder is free once each
    of them is closed.
    """

    _guard = threading.Lock()
    _shared: ClassVar[dict[tuple[int, int], _Shared]] = {}

    def __init__(self, file: Path, use: str) -> None:
        """Take the lock `file` for a `use` (`the reconciler`).

        Raises ConfigurationError, naming the holder, when another process has it, and OSError
        when the file cannot be opened.
        """
        # Not truncated yet: the file names the present holder.
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        found = os.fstat(descriptor)
        self._key: tuple[int, int] | None = (found.st_dev, found.st_ino)
        with self._guard:
            shared = self._shared.get(self._key)
            self.is_first = shared is None
            if shared is not None:
                os.close(descriptor)
                shared.users += 1
                return
            try:
                _take(descriptor, file, use)
            except BaseException:
                os.close(descriptor)
                raise
            self._shared[self._key] = _Shared(descriptor)

    def close(self) -> None:
        """Release this use; the last use of this process releases the folder."""
        with self._guard:
            if self._key is None:
                return
            shared = self._shared[self._key]
            shared.users -= 1
            if shared.users == 0:
                os.close(shared.descriptor)
                del self._shared[self._key]
            self._key = None


@dataclass
class _Shared:
    descriptor: int
    users: int = 1


def _take(descriptor: int, file: Path, use: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigurationError(
            f"{_holder(descriptor) or 'another process'} uses this folder",
            place=str(file.parent),
            cure=f"stop it, or start {use} with another state folder (GUILDNET_STATE_DIR)",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n{use}\n".encode(), 0)


def _holder(descriptor: int) -> str | None:
    """`the reconciler (PID 42 on host)`, from what the holder wrote into the file."""
    written = os.pread(descriptor, _MAX_HOLDER_BYTES, 0).decode("utf-8", "replace")
    process, _, use = written.strip().partition("\n")
    number, _, host = process.partition(" ")
    if not number.isdecimal() or not use.isprintable() or not host.isprintable():
        return None
    return f"{use or 'a process'} (PID {number} on {host})"
