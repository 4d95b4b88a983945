"""A thread that renews Leases on time, even while the rest of the process is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from guildnet.kube.adaptive_limit import LimitBounds
from guildnet.kube.connections import Connections
from guildnet.kube.pacing import Gates
from guildnet.loop_lag import LoopLag

T = TypeVar("T")

# Renewals are small, and a delayed renewal can lose the Lease. The bound only keeps a process with
# a thousand orgs from opening a thousand connections at once.
_BOUNDS = LimitBounds(floor=64, initial=128, ceiling=128)
_STOP_SECONDS = 10.0


class LeaseLoop:
    """An event loop in a separate thread, with separate connections.

    The thread starts with the first coroutine. Clients made by `connections` must be used and
    closed on this loop only.
    """

    def __init__(self, observed: Callable[[float], None] = lambda seconds: None) -> None:
        """`observed` gets each measurement of the loop's lag, in its thread."""
        self.loop_lag = LoopLag(observed)
        self.connections = Connections(Gates(total=1024, bounds=_BOUNDS), self.loop_lag)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start `work` on this loop and return its task, to be ended with `end`."""
        return await self.run(_started(work))

    async def end(self, task: asyncio.Task[None]) -> None:
        """Cancel a task and wait until it has cleaned up."""
        await self.run(_ended(task))

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on this loop and return its result."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._running()))

    async def stop(self) -> None:
        """Stop the thread. Tasks that still run are abandoned, so end them first."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.to_thread(thread.join, _STOP_SECONDS)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._serve, args=(self._loop,), name="leases", daemon=True
            )
            self._thread.start()
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        measuring = loop.create_task(self.loop_lag.run())
        try:
            loop.run_forever()
        finally:
            measuring.cancel()
            loop.run_until_complete(asyncio.gather(measuring, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


async def _started(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
