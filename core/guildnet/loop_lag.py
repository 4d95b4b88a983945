"""Lag of an event loop, so that answers which were read late are not taken for slow servers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

INTERVAL_SECONDS = 0.1
_KEPT_SECONDS = 60.0
_NOTABLE_SECONDS = 0.02


class LoopLag:
    """Measures the lag of the event loop that `run` runs on; may be read from any thread.

    `observed` is called with each measurement, in seconds.
    """

    def __init__(self, observed: Callable[[float], None] = lambda seconds: None) -> None:
        self._observed = observed
        self._late: deque[tuple[float, float]] = deque()
        self._due: float | None = None

    async def run(self) -> None:
        """Measure until cancelled."""
        try:
            while True:
                self._due = time.monotonic() + INTERVAL_SECONDS
                await asyncio.sleep(INTERVAL_SECONDS)
                self._note(time.monotonic(), max(0.0, time.monotonic() - self._due))
        finally:
            self._due = None

    def _note(self, now: float, late: float) -> None:
        self._observed(late)
        if late >= _NOTABLE_SECONDS:
            self._late.append((now, late))
        while self._late and self._late[0][0] < now - _KEPT_SECONDS:
            self._late.popleft()

    @property
    def now(self) -> float:
        """The present lag in seconds; 0 while nothing measures it."""
        due = self._due
        return 0.0 if due is None else max(0.0, time.monotonic() - due)

    def within(self, seconds: float) -> float:
        """The total lag within the last `seconds`, which are at most a minute."""
        since = time.monotonic() - seconds
        return min(seconds, self.now + sum(late for at, late in list(self._late) if at >= since))
