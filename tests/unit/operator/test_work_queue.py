"""Each key is processed by one worker at a time, and none is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from guildnet_operator.work_queue import WorkQueue


@asynccontextmanager
async def working(queue: WorkQueue, work: Callable[[str], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(work, 4))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  the queue has no event to wait for
            await asyncio.sleep(0.001)


async def settled(queue: WorkQueue) -> None:
    await until(lambda: queue.is_idle)


async def test_a_key_queued_twice_is_processed_once() -> None:
    queue, seen = WorkQueue(), list[str]()

    async def work(key: str) -> None:
        seen.append(key)

    for key in ("a", "b", "a"):
        queue.put(key)
    async with working(queue, work):
        await settled(queue)
    assert seen == ["a", "b"]


async def test_a_key_queued_during_its_processing_is_processed_again_afterwards() -> None:
    queue, begun, go = WorkQueue(), list[str](), asyncio.Event()
    busy = 0

    async def work(key: str) -> None:
        nonlocal busy
        busy += 1
        assert busy == 1
        begun.append(key)
        await go.wait()
        busy -= 1

    queue.put("a")
    async with working(queue, work):
        await until(lambda: begun)
        queue.put("a")
        queue.put("a")
        go.set()
        await settled(queue)
    assert begun == ["a", "a"]


async def test_one_failing_key_delays_no_other() -> None:
    """I3"""
    queue, seen = WorkQueue(), list[str]()

    async def work(key: str) -> None:
        seen.append(key)
        if key == "bad":
            raise RuntimeError("no")

    queue.put("bad")
    queue.put("good")
    async with working(queue, work):
        await settled(queue)
        assert seen == ["bad", "good"]
        await until(lambda: seen.count("bad") == 2)


async def test_the_last_set_time_counts() -> None:
    queue, seen = WorkQueue(), list[str]()

    async def work(key: str) -> None:
        seen.append(key)

    async with working(queue, work):
        queue.put_after("a", timedelta(hours=1))
        queue.put_after("a", timedelta(0))
        await until(lambda: seen)
        queue.put_after("b", timedelta(0))
        queue.cancel_timer("b")
        await asyncio.sleep(0)
        await settled(queue)
    assert seen == ["a"]


async def test_a_cancellation_that_a_library_lets_escape_costs_no_worker() -> None:
    queue, seen = WorkQueue(), list[str]()

    async def work(key: str) -> None:
        seen.append(key)
        if key.startswith("bad"):
            raise asyncio.CancelledError

    for key in (*(f"bad{n}" for n in range(8)), "good"):
        queue.put(key)
    async with working(queue, work):
        await until(lambda: "good" in seen)
