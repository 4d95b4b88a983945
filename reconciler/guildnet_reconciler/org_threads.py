"""Threads for the blocking work of orgs, of which each org has a bounded share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

THREADS = 16
THREADS_PER_ORG = 2
OVERDUE = timedelta(seconds=5)
"""Work that takes longer no longer counts against the threads that all orgs share."""
MAX_THREADS = 512


class OrgThreads:
    """At most `THREADS_PER_ORG` for one org, `THREADS` for all, not counting what is overdue.

    A thread cannot be stopped: a call that is cancelled leaves its work running, and that work goes
    on counting as its org's until it ends.
    """

    def __init__(self, overdue: timedelta = OVERDUE) -> None:
        self._pool = ThreadPoolExecutor(MAX_THREADS, "org")
        self._free = asyncio.Semaphore(THREADS)
        self._shares: dict[str, asyncio.Semaphore] = {}
        self._overdue = overdue.total_seconds()

    async def run(self, org: str, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """The result of `work`, once the org has a thread."""
        share = self._shares.setdefault(org, asyncio.Semaphore(THREADS_PER_ORG))
        await share.acquire()
        try:
            await self._free.acquire()
        except BaseException:
            share.release()
            raise
        loop = asyncio.get_running_loop()
        free_once = _Once(self._free.release)
        overdue = loop.call_later(self._overdue, free_once)

        def ended() -> None:
            overdue.cancel()
            free_once()
            share.release()

        call = partial(copy_context().run, work, *args, **options)
        future = self._pool.submit(call)
        future.add_done_callback(lambda _: _call_soon(loop, ended))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what still runs; blocks."""
        self._pool.shutdown(cancel_futures=True)


class _Once:
    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(call)
