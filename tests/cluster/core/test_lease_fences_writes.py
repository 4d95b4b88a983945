"""Several holders compete for one Lease: never may two of them write at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from guildnet.errors import KubeUnavailable
from guildnet.kube import LEASES, KubeClient, Lease, LeaseTiming

QUICK = LeaseTiming(
    duration=timedelta(seconds=3),
    renew_deadline=timedelta(seconds=2),
    retry=timedelta(seconds=0.3),
    request_timeout=timedelta(seconds=1),
)


@asynccontextmanager
async def running(lease: Lease) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(lease.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of time that passed
        await asyncio.sleep(0.05)


def holder_of(lease: dict[str, Any]) -> str:
    return str(lease["spec"]["holderIdentity"])


async def test_one_process_holds_the_lease_and_releases_it(
    open_client: Callable[..., KubeClient],
) -> None:
    reports: list[bool] = []
    async with open_client() as client, asyncio.timeout(20):
        lease = Lease(client, "guildnet", "one", timing=QUICK, on_held=reports.append)
        assert not lease.held
        async with running(lease):
            await lease.wait_held()
            stored = await client.get(LEASES, "guildnet")
            assert holder_of(stored) == "one"
            assert stored["spec"]["leaseDurationSeconds"] == 3
            fenced = client.fenced_by(lease)
            await fenced.patch(LEASES, "guildnet", {"metadata": {"labels": {"a": "b"}}})
        assert not lease.held
        assert holder_of(await client.get(LEASES, "guildnet")) == ""
        assert reports == [True, False]
        with pytest.raises(KubeUnavailable):
            await fenced.delete(LEASES, "guildnet")


async def test_the_next_holder_acquires_a_released_lease_at_once(
    open_client: Callable[..., KubeClient],
) -> None:
    async with open_client() as client, asyncio.timeout(20):
        one = Lease(client, "guildnet", "one", timing=QUICK)
        two = Lease(client, "guildnet", "two", timing=QUICK)
        async with running(one):
            await one.wait_held()
            async with running(two):
                await until(lambda: two.other_holder == "one")
                assert not two.held
                # The Lease is renewed: no other holder can acquire it by waiting.
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(two.wait_held(), 4)
                assert one.held
        async with running(two):
            await two.wait_held()
        stored = await client.get(LEASES, "guildnet")
        assert stored["spec"]["leaseTransitions"] == 1


async def test_a_killed_holder_is_replaced_after_the_lease_expires(
    open_client: Callable[..., KubeClient],
) -> None:
    """A killed process does not release its Lease, so another must wait until it expires."""
    async with open_client() as client, asyncio.timeout(30):
        dead = Lease(client, "guildnet", "dead", timing=QUICK)
        task = asyncio.create_task(dead.run())
        await dead.wait_held()
        dead._release = _no_release  # type: ignore[method-assign]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        heir = Lease(client, "guildnet", "heir", timing=QUICK)
        async with running(heir):
            await heir.wait_held()
            # The killed holder's deadline passed before the next holder acquired the Lease.
            assert not dead.held
            assert holder_of(await client.get(LEASES, "guildnet")) == "heir"


async def _no_release() -> None:
    return None


async def test_a_holder_resumed_after_a_pause_writes_nothing(
    open_client: Callable[..., KubeClient],
) -> None:
    """A resumed process checks its clock before each write, so it sends no request."""
    async with open_client() as client, asyncio.timeout(30):
        paused = Lease(client, "guildnet", "paused", timing=QUICK)
        async with running(paused) as task:
            await paused.wait_held()
            fenced = client.fenced_by(paused)
            paused._acquire_or_renew = _hang  # type: ignore[method-assign]
            await until(lambda: not paused.held)
            with pytest.raises(KubeUnavailable) as stopped:
                await fenced.delete(LEASES, "guildnet")
            assert stopped.value.reason == "LeaseNotHeld"
            assert not task.done()


async def _hang() -> None:
    await asyncio.sleep(3600)
