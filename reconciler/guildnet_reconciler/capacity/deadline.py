"""Ends a pass that makes no progress."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta


class PassDeadline:
    """The time limit of one pass, counted from its last progress; waiting for a turn does not
    count. Wrap the pass in `limit`, which raises TimeoutError."""

    def __init__(self, allowed: timedelta) -> None:
        self._allowed = allowed.total_seconds()
        self.limit = asyncio.timeout(self._allowed)

    def progress(self) -> None:
        """The pass made progress: start the time limit again."""
        if not self.limit.expired():
            self.limit.reschedule(asyncio.get_running_loop().time() + self._allowed)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let no time pass in the block."""
        self.limit.reschedule(None)
        try:
            yield
        finally:
            self.progress()
