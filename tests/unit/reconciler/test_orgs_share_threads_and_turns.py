"""No org uses up what all of them share: threads, turns for large passes, a pass's deadline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from guildnet_reconciler.capacity.deadline import PassDeadline
from guildnet_reconciler.capacity.shared import LargePasses
from guildnet_reconciler.capacity.threads import THREADS, THREADS_PER_ORG, OrgThreads
from guildnet_reconciler.capacity.validation import Validation
from guildnet_reconciler.validation.verdict import Validate, validate_here


@pytest.fixture
async def release() -> AsyncIterator[threading.Event]:
    """Ends the stuck work of a test."""
    event = threading.Event()
    yield event
    event.set()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_stuck_work_of_many_orgs_leaves_threads_for_the_others(
    release: threading.Event,
) -> None:
    threads = OrgThreads(overdue=timedelta(milliseconds=50))
    stuck = [asyncio.create_task(threads.share().run(release.wait)) for _ in range(2 * THREADS)]
    async with asyncio.timeout(10):
        assert await threads.share().run(lambda: "done") == "done"
    release.set()
    await asyncio.gather(*stuck)
    threads.close()


async def test_cancelled_work_goes_on_counting_as_its_orgs(release: threading.Event) -> None:
    threads = OrgThreads()
    org = threads.share()
    for _ in range(THREADS_PER_ORG):
        began = threading.Event()

        def work(began: threading.Event = began) -> None:
            began.set()
            release.wait()

        call = asyncio.create_task(org.run(work))
        await asyncio.to_thread(began.wait, 10)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    waiting = asyncio.create_task(org.run(lambda: "done"))
    assert await threads.share().run(lambda: "other") == "other"
    await settled()
    assert not waiting.done()
    release.set()
    async with asyncio.timeout(10):
        assert await waiting == "done"
    threads.close()


async def test_an_error_in_a_thread_reaches_its_caller_and_frees_the_thread() -> None:
    threads = OrgThreads()
    org = threads.share()
    async with asyncio.timeout(10):
        for _ in range(2 * THREADS):
            with pytest.raises(ZeroDivisionError):
                await org.run(lambda: 1 // 0)
    threads.close()


@pytest.mark.parametrize(
    ("sizes", "is_large"),
    [([], False), ([600] * 64, False), ([15_000], False), ([1_500] * 20, True), ([250_000], True)],
)
async def test_only_large_files_are_validated_in_processes(
    sizes: list[int], *, is_large: bool
) -> None:
    threads, validation = OrgThreads(), Validation()
    share = validation.share(threads.share())

    def chosen(validate: Validate) -> Validate:
        return validate

    expected = validation.workers.validate if is_large else validate_here
    async with asyncio.timeout(10):
        assert await share.run(sizes, chosen) == expected
    validation.close()
    threads.close()


async def test_large_passes_queue_for_each_server() -> None:
    passes, running, most = LargePasses(per_server=2, total=3), {"a": 0, "b": 0}, [0, 0]

    async def one(server: str) -> None:
        async with passes.turn(server):
            running[server] += 1
            most[0] = max(most[0], *running.values())
            most[1] = max(most[1], sum(running.values()))
            await settled()
            running[server] -= 1

    await asyncio.gather(*(one(server) for server in "aaaaabbbbb"))
    assert most == [2, 3]


async def test_a_pass_that_makes_progress_is_not_cut_short() -> None:
    deadline = PassDeadline(timedelta(seconds=0.2))
    async with deadline.limit:
        for _ in range(6):
            await asyncio.sleep(0.05)
            deadline.progress()


async def test_a_pass_that_waits_for_its_turn_is_not_cut_short() -> None:
    deadline = PassDeadline(timedelta(seconds=0.05))
    async with deadline.limit:
        with deadline.paused():
            await asyncio.sleep(0.2)


async def test_a_pass_without_progress_is_cut_short() -> None:
    deadline = PassDeadline(timedelta(seconds=0.05))
    with pytest.raises(TimeoutError):
        async with deadline.limit:
            await asyncio.sleep(10)
