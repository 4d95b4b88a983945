"""Where built things are kept between runs: the user's cache directory, never the repository."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """GuildNet's folder in the user's cache (`XDG_CACHE_HOME`, else ~/.cache); made if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "guildnet"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold `lock` alone among all processes of this machine; waits for the holder to end.

    The kernel drops the lock with its holder, so a killed build leaves nothing locked.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
