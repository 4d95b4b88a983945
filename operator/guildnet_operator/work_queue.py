"""A queue of keys for workers, as controllers use it.

A key is queued at most once, and processed by one worker at a time. A key that is queued while it
is processed is processed again afterwards, so that no change is missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta

from guildnet.backoff import Backoff
from guildnet_operator.internal_errors import describe_error

logger = logging.getLogger(__name__)

Work = Callable[[str], Awaitable[None]]

RETRY = Backoff(timedelta(seconds=1), timedelta(minutes=2))


class WorkQueue:
    """Hands keys to workers; a key whose work raises is retried with a growing pause."""

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
        """Queue `key` now."""
        if key in self._queued:
            return
        self._queued.add(key)
        if key not in self._busy:
            self._ready.append(key)
            self._wake.set()

    def put_after(self, key: str, delay: timedelta) -> None:
        """Queue `key` after `delay`, instead of at the time set before."""
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
        """Call `work` with each key, `workers` at a time, until cancelled."""
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
        """Whatever the work on one key raises, this worker continues with the next key."""
        try:
            await work(key)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if _is_being_cancelled():
                raise
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause = RETRY.pause(failures)
            self.put_after(key, pause)
            seconds = pause.total_seconds()
            logger.warning("%s: %s; retrying in %.0f s", key, describe_error(error), seconds)
        else:
            self._failures.pop(key, None)


def _is_being_cancelled() -> bool:
    """Whether the current task is being cancelled. A CancelledError that escapes from a library's
    own task is an error like any other."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
