"""Publishes events to any number of listeners."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `serial` numbers events within this process."""

    serial: int
    kind: str
    data: Mapping[str, Any]


class EventFeed:
    """Keeps the last `kept` events. A slow listener delays no other and cannot exhaust memory."""

    def __init__(self, kept: int = 64) -> None:
        self._events: deque[Event] = deque(maxlen=kept)
        self._changed = asyncio.Condition()
        self.serial = 0
        self.closed = False

    async def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        async with self._changed:
            self.serial += 1
            self._events.append(Event(self.serial, kind, data))
            self._changed.notify_all()

    async def close(self) -> None:
        """Wake every listener and end its stream."""
        async with self._changed:
            self.closed = True
            self._changed.notify_all()

    async def after(self, serial: int) -> list[Event] | None:
        """Wait for events later than `serial` and return them.

        Returns [] once the feed is closed, and None if some of the events were already dropped.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed or self.serial > serial)
            if self.closed:
                return []
            if self._events[0].serial > serial + 1:
                return None
            return [event for event in self._events if event.serial > serial]
