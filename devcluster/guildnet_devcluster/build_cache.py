"""The folder for build results in the user's cache directory, and locks between processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guildnet.state_folder import make_private, open_private


def cache_folder() -> Path:
    """GuildNet's folder in the user's cache (XDG_CACHE_HOME or ~/.cache), created if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "guildnet"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold the lock file `lock` exclusively on this machine, waiting until it is free.

    The kernel releases the lock when its holder exits, so a killed build leaves nothing locked.
    The holder may delete the file.
    """
    make_private(lock.parent)
    while True:
        with open(lock, "w", opener=open_private) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_current(lock, handle.fileno()):
                yield
                return


def _is_current(lock: Path, descriptor: int) -> bool:
    """Whether the locked file is still the one at this path, and was not deleted meanwhile."""
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
