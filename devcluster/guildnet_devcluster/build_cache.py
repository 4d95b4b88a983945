"""Where built things are kept between runs: the user's cache directory, never the repository."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guildnet.state_folder import make_private, open_private


def cache_folder() -> Path:
    """GuildNet's folder in the user's cache (`XDG_CACHE_HOME`, else ~/.cache); made if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "guildnet"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold `lock` alone among all processes of this machine; waits for the holder to end.

    The kernel drops the lock with its holder, so a killed build leaves nothing locked. Whoever
    holds it may remove the file.
    """
    make_private(lock.parent)
    while True:
        with open(lock, "w", opener=open_private) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_still(lock, handle.fileno()):
                yield
                return


def _is_still(lock: Path, descriptor: int) -> bool:
    """Whether the file we locked is the one others will lock, and was not removed meanwhile."""
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
