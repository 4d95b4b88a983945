"""Nothing is decided before the watches have reported every object that exists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from guildnet.backoff import Backoff
from guildnet.errors import KubeUnavailable
from guildnet.kube import AGENT_TASKS, PODS, ResourceKind
from guildnet_operator import initial_list as module
from guildnet_operator.initial_list import InitialList


class Server:
    """Lists what exists; `failures` lists fail first."""

    def __init__(self, **existing: list[str]) -> None:
        self.existing = existing
        self.failures = 0

    async def list_pages(self, kind: ResourceKind) -> AsyncIterator[dict[str, Any]]:
        if self.failures:
            self.failures -= 1
            raise KubeUnavailable("no answer", place="server")
        uids = self.existing.get(kind.plural, [])
        yield {"items": [{"metadata": {"uid": uid}} for uid in uids]}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = timedelta(milliseconds=1)
    monkeypatch.setattr(module, "RETRY", Backoff(moment, moment))
    monkeypatch.setattr(module, "QUIET", Backoff(moment * 10, moment * 10))


async def complete(initial: InitialList, server: Any) -> None:
    async with asyncio.timeout(10):
        await initial.follow(server)
        await initial.wait()


async def test_an_empty_namespace_is_complete_at_once() -> None:
    initial = InitialList((AGENT_TASKS, PODS))
    assert "all agenttasks, pods" in initial.missing()
    await complete(initial, Server())
    assert initial.missing() == ""


async def test_it_is_complete_only_with_the_last_report() -> None:
    """Reports may come before the list, and those of one kind after those of another."""
    initial = InitialList((AGENT_TASKS, PODS))
    initial.reported(AGENT_TASKS, "a")
    server: Any = Server(agenttasks=["a", "b"], pods=["p"])
    following = asyncio.create_task(initial.follow(server))
    initial.reported(PODS, "p")
    await asyncio.sleep(0.05)
    assert not following.done()
    assert initial.missing() == "waiting for the first report of 1 of 2 agenttasks; all pods"
    initial.reported(AGENT_TASKS, "b")
    async with asyncio.timeout(10):
        await following
    assert initial.missing() == ""


async def test_an_object_deleted_before_any_watch_saw_it_is_not_waited_for() -> None:
    initial = InitialList((PODS,))
    server = Server(pods=["gone", "here"])
    initial.reported(PODS, "here")
    following = asyncio.create_task(complete(initial, server))
    await asyncio.sleep(0.02)
    assert not following.done()
    server.existing["pods"].remove("gone")
    await following


async def test_a_list_that_fails_is_repeated() -> None:
    initial, server = InitialList((PODS,)), Server()
    server.failures = 3
    await complete(initial, server)
    assert server.failures == 0
