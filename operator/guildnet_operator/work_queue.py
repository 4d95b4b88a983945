"""Keys waiting to be worked on: each at most once, never two at a time, and some at a set time.

What is queued while it is being worked on is worked on again afterwards, so that nothing seen
meanwhile is missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta

from guildnet_operator.internal_errors import describe_error

logger = logging.getLogger(__name__)

Work = Callable[[str], Awaitable[None]]

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=2)


class WorkQueue:
    """Coalesces keys and feeds them to workers; a key whose work raises comes again later."""

    def __init__(self) -> None:
        self._ready: deque[str] = deque()
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def is_idle(self) -> bool:
        return not self._queued and not self._busy

    def put(self, key: str) -> None:
        """Work on `key` soon."""
        if key in self._queued:
            return
        self._queued.add(key)
        if key not in self._busy:
            self._ready.append(key)
            self._wake.set()

    def put_after(self, key: str, delay: timedelta) -> None:
        """Work on `key` after `delay`; replaces an earlier appointment of the key."""
        self.cancel_timer(key)
        seconds = max(0.0, delay.total_seconds())
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def cancel_timer(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self.put(key)

    async def run(self, work: Work, workers: int) -> None:
        """Let `work` have each key, `workers` at once, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._serve(work))

    async def _serve(self, work: Work) -> None:
        while True:
            while not self._ready:
                self._wake.clear()
                await self._wake.wait()
            key = self._ready.popleft()
            self._queued.discard(key)
            self._busy.add(key)
            try:
                await self._attempt(work, key)
            finally:
                self._busy.discard(key)
                if key in self._queued:
                    self._ready.append(key)
                    self._wake.set()

    async def _attempt(self, work: Work, key: str) -> None:
        """Whatever the work on one key raises, this worker goes on to the next key."""
        try:
            await work(key)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if _is_being_cancelled():
                raise
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
            self.put_after(key, pause)
            seconds = pause.total_seconds()
            logger.warning("%s: %s; again in %.0f s", key, describe_error(error), seconds)
        else:
            self._failures.pop(key, None)


def _is_being_cancelled() -> bool:
    """Whether somebody ends the current task. A CancelledError that a library lets escape from
    something of its own is an error like any other."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
