"""A local repository's refs, watched: a commit there is noticed without poll or webhook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from watchfiles import Change, awatch

DEBOUNCE_MS = 20
STEP_MS = 10


async def watch(git_dir: Path, trigger: Callable[[], None], *, ignored_branch: str) -> None:
    """Trigger when a ref of the repository changes, except the branch that we write.

    Refs that are packed away count too: git removes their files then.
    """
    refs = git_dir / "refs"
    ignored = refs / "heads" / ignored_branch

    def is_ref(_: Change, path: str) -> bool:
        return not path.endswith(".lock") and Path(path) != ignored

    watched = awatch(refs, watch_filter=is_ref, debounce=DEBOUNCE_MS, step=STEP_MS, recursive=True)
    async for _ in watched:
        trigger()
