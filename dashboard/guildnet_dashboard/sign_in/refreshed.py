"""A value that is fetched again now and then, at a bounded rate."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Generic, TypeVar

from guildnet.backoff import Backoff
from guildnet_dashboard.sign_in.errors import ProviderUnavailable

Value = TypeVar("Value")

log = logging.getLogger(__name__)

#: The least time between two fetches that were asked for before the value was old.
MIN_INTERVAL = timedelta(seconds=10)
_BACKOFF = Backoff(first=timedelta(seconds=2), longest=timedelta(minutes=1))


class Refreshed(Generic[Value]):
    """The last value that `fetch` returned. Callers share one fetch.

    A value older than `max_age` is fetched again in the background: while the provider is down,
    its last value stays in use.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Value]], max_age: timedelta) -> None:
        """`fetch` raises ProviderUnavailable, and nothing else."""
        self._fetch = fetch
        self._max_age = max_age.total_seconds()
        self._value: Value | None = None
        self._fetched = 0.0
        self._next_try = 0.0
        self._next_renewal = 0.0
        self._failures = 0
        self._fetching: asyncio.Task[None] | None = None
        self.failure: ProviderUnavailable | None = None
        """Why the last fetch failed; None after one that did not."""

    def refresh_if_due(self) -> None:
        """Start to fetch in the background if the value is old, missing, or the last try failed."""
        is_old = time.monotonic() - self._fetched > self._max_age
        if self._value is None or self.failure is not None or is_old:
            self._start()

    async def get(self) -> Value:
        """The value; waits only for the first one. Raises ProviderUnavailable without any."""
        if self._value is None:
            self._start()
            await self._join()
        else:
            self.refresh_if_due()
        if self._value is None:
            raise self.failure or ProviderUnavailable("the provider did not answer yet")
        return self._value

    async def renew(self) -> Value:
        """The value, fetched again unless that was asked for a moment ago."""
        now = time.monotonic()
        if now >= self._next_renewal:
            self._next_renewal = now + MIN_INTERVAL.total_seconds()
            self._start()
        await self._join()
        return await self.get()

    async def _join(self) -> None:
        if self._fetching is not None:
            await asyncio.shield(self._fetching)

    def _start(self) -> None:
        """Start to fetch, unless a fetch is in progress or failed a moment ago."""
        if self._fetching is None and time.monotonic() >= self._next_try:
            self._fetching = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            self._value = await self._fetch()
            if self.failure is not None:
                log.info("the identity provider answers again")
            self._fetched, self._failures, self.failure = time.monotonic(), 0, None
        except ProviderUnavailable as error:
            if self.failure is None:
                log.warning("the identity provider cannot be asked: %s", error)
            self._failures += 1
            self.failure = error
            pause = _BACKOFF.pause(self._failures)
            self._next_try = time.monotonic() + pause.total_seconds()
        finally:
            self._fetching = None
