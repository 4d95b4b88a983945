"""Where the files of each org are validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from guildnet_reconciler.capacity.threads import OrgThreads, ThreadShare
from guildnet_reconciler.validation.limits import MAX_WORKERS, WORKERS
from guildnet_reconciler.validation.pool import SMALL_BYTES, SMALL_FILE_BYTES, WorkerPool
from guildnet_reconciler.validation.verdict import validate_here

T = TypeVar("T")


class Validation:
    """Validates the files of all orgs: small ones in the org's thread, large ones in processes."""

    def __init__(self) -> None:
        self.workers = WorkerPool()
        self._threads = OrgThreads(threads=WORKERS, per_org=1, most=MAX_WORKERS)

    def share(self, threads: ThreadShare) -> ValidationShare:
        """The part of the org with these threads."""
        return ValidationShare(self.workers, threads, self._threads.share())

    def close(self) -> None:
        """End the processes; blocks."""
        self.workers.close()
        self._threads.close()


@dataclass(frozen=True)
class ValidationShare:
    """The part of one org. Large work waits for a process and for no other org's small work."""

    workers: WorkerPool
    small: ThreadShare
    large: ThreadShare

    async def run(self, sizes: Sequence[int], load: Callable[..., T], *args: Any) -> T:
        """The result of `load` with `args` and `validate`, for files of these bytes."""
        if sum(sizes) < SMALL_BYTES or max(sizes) <= SMALL_FILE_BYTES:
            return await self.small.run(load, *args, validate=validate_here)
        return await self.large.run(load, *args, validate=self.workers.validate)
