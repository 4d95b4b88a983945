"""How late our own event loop runs is measured, also while it stands still."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from guildnet.lateness import Lateness


@asynccontextmanager
async def measured(lateness: Lateness) -> AsyncIterator[None]:
    task = asyncio.create_task(lateness.run())
    await asyncio.sleep(0.02)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_loop_that_stood_still_was_late() -> None:
    seen: list[float] = []
    lateness = Lateness(seen.append)
    async with measured(lateness):
        time.sleep(0.5)  # noqa: ASYNC251
        # Also before the measurement itself gets its turn.
        assert lateness.within(1) > 0.3
        await asyncio.sleep(0.15)
        assert max(seen) > 0.3
        assert 0.3 < lateness.within(1) <= 1


async def test_another_thread_sees_it_while_it_lasts() -> None:
    lateness, seen = Lateness(), [0.0]

    def look() -> None:
        time.sleep(0.4)
        seen[0] = lateness.now

    async with measured(lateness):
        thread = threading.Thread(target=look)
        thread.start()
        time.sleep(0.6)  # noqa: ASYNC251
        thread.join()
    assert seen[0] > 0.2


async def test_a_loop_that_is_not_measured_is_not_late() -> None:
    lateness = Lateness()
    assert lateness.now == 0
    assert lateness.within(60) == 0
