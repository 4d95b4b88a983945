"""Threads for the blocking work of orgs, of which each org has a bounded share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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
    """At most `per_org` threads for one org and `threads` for all, without overdue work; with it,
    at most `most`."""

    def __init__(
        self,
        threads: int = THREADS,
        per_org: int = THREADS_PER_ORG,
        most: int = MAX_THREADS,
        overdue: timedelta = OVERDUE,
    ) -> None:
        self.per_org = per_org
        self._pool = ThreadPoolExecutor(most, "org")
        self._free = asyncio.Semaphore(threads)
        self._overdue = overdue.total_seconds()

    def share(self) -> ThreadShare:
        """The threads of one org."""
        return ThreadShare(self)

    async def submit(self, work: Callable[[], T], on_ended: Callable[[], None]) -> Future[T]:
        """Start `work` once a thread is free; `on_ended` is called on the event loop when it has
        ended."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        free_once = _Once(self._free.release)
        overdue = loop.call_later(self._overdue, free_once)

        def ended() -> None:
            overdue.cancel()
            free_once()
            on_ended()

        future = self._pool.submit(work)
        future.add_done_callback(lambda _: _call_soon(loop, ended))
        return future

    def close(self) -> None:
        """Wait for what still runs; blocks."""
        self._pool.shutdown(cancel_futures=True)


class ThreadShare:
    """Runs the blocking work of one org.

    A thread cannot be stopped: a call that is cancelled leaves its work running, and that work goes
    on counting as its org's until it ends.
    """

    def __init__(self, threads: OrgThreads) -> None:
        self._threads = threads
        self._free = asyncio.Semaphore(threads.per_org)

    async def run(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """The result of `work`, once the org has a thread."""
        await self._free.acquire()
        try:
            call = partial(copy_context().run, work, *args, **options)
            future = await self._threads.submit(call, self._free.release)
        except BaseException:
            self._free.release()
            raise
        return await asyncio.wrap_future(future)


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
