"""The folder for build results in the user's cache directory, and locks between processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from guildnet.state_folder import make_private, open_private

#: Two, so that two checkouts used alternately each keep their builds.
_KEPT = 2


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


def build_once(folder: Path, recipe: str, build: Callable[[Path], None]) -> Path:
    """Return `<folder>-<digest of recipe>`, which `build` fills once; older ones are removed.

    `build` gets an empty folder that gets its final name only when complete.
    """
    built = folder.with_name(f"{folder.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}")
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if not built.is_dir():
            for abandoned in folder.parent.glob(f".{folder.name}-*"):
                # We hold the lock, so the process that created it was killed.
                shutil.rmtree(abandoned, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                build(scratch)
                scratch.chmod(0o755)
                scratch.rename(built)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        built.touch()
        older = (each for each in folder.parent.glob(f"{folder.name}-*") if each.is_dir())
        for outdated in sorted(older, key=_modified, reverse=True)[_KEPT:]:
            shutil.rmtree(outdated, ignore_errors=True)
    return built


def _modified(path: Path) -> float:
    return path.stat().st_mtime
