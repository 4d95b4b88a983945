"""How late our own event loop runs is measured, also while it stands still."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from guildnet.loop_lag import LoopLag


@asynccontextmanager
async def measured(loop_lag: LoopLag) -> AsyncIterator[None]:
    task = asyncio.create_task(loop_lag.run())
    await asyncio.sleep(0.02)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_loop_that_stood_still_was_late() -> None:
    seen: list[float] = []
    loop_lag = LoopLag(seen.append)
    async with measured(loop_lag):
        time.sleep(0.5)  # noqa: ASYNC251
        # Also before the measurement itself gets its turn.
        assert loop_lag.within(1) > 0.3
        await asyncio.sleep(0.15)
        assert max(seen) > 0.3
        assert 0.3 < loop_lag.within(1) <= 1


async def test_another_thread_sees_it_while_it_lasts() -> None:
    loop_lag, seen = LoopLag(), [0.0]

    def look() -> None:
        time.sleep(0.4)
        seen[0] = loop_lag.now

    async with measured(loop_lag):
        thread = threading.Thread(target=look)
        thread.start()
        time.sleep(0.6)  # noqa: ASYNC251
        thread.join()
    assert seen[0] > 0.2


async def test_a_loop_that_is_not_measured_is_not_late() -> None:
    loop_lag = LoopLag()
    assert loop_lag.now == 0
    assert loop_lag.within(60) == 0
