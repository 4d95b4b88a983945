"""Applying starts with the first entry, and ends cleanly after any error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from guildnet.errors import GitError, KubeInvalid, KubeUnavailable
from guildnet_reconciler.steps.ahead import loaded_ahead
from guildnet_reconciler.steps.apply import Applied, apply_entries
from guildnet_reconciler.steps.load import Loaded
from guildnet_reconciler.steps.plan import Entry


class Server:
    """Takes objects; `answers` decides what becomes of one by its name."""

    def __init__(self) -> None:
        self.answers: dict[str, Exception] = {}
        self.begun: list[str] = []
        self.done: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def apply(
        self, obj: Mapping[str, Any], *, field_manager: str, force: bool = True
    ) -> dict[str, Any]:
        self.begun.append(obj["name"])
        await self.open.wait()
        if obj["name"] in self.answers:
            raise self.answers[obj["name"]]
        self.done.append(obj["name"])
        return dict(obj)


def _entry(name: str) -> Entry:
    return Entry("create", name, "New", object={"name": name})


async def _of(*names: str) -> AsyncIterator[Entry]:
    for name in names:
        yield _entry(name)


async def _apply(server: Server, entries: AsyncIterator[Entry], in_flight: int = 2) -> Applied:
    return await apply_entries(
        server,
        entries,
        in_flight=in_flight,
        is_current=lambda entry: entry.task != "overtaken",
        on_applied=lambda entry, obj: None,
    )


async def _until(server: Server, *begun: str) -> None:
    async with asyncio.timeout(10):
        while server.begun != list(begun):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_the_first_is_applied_before_the_last_is_known() -> None:
    server, known = Server(), asyncio.Event()

    async def entries() -> AsyncIterator[Entry]:
        yield _entry("first")
        await known.wait()
        yield _entry("last")

    applying = asyncio.create_task(_apply(server, entries()))
    async with asyncio.timeout(10):
        while server.done != ["first"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    known.set()
    assert (await applying).ended is None
    assert server.done == ["first", "last"]


async def test_no_more_are_under_way_than_asked_for() -> None:
    server = Server()
    server.open.clear()
    applying = asyncio.create_task(_apply(server, _of("a", "b", "c", "d"), in_flight=2))
    await _until(server, "a", "b")
    for _ in range(20):
        await asyncio.sleep(0)
    assert server.begun == ["a", "b"]
    server.open.set()
    await applying
    assert sorted(server.done) == ["a", "b", "c", "d"]


async def test_one_refusal_fails_alone_and_what_is_overtaken_is_left() -> None:
    server = Server()
    server.answers["bad"] = KubeInvalid("no")
    result = await _apply(server, _of("a", "bad", "overtaken", "b"))
    assert sorted(server.done) == ["a", "b"]
    assert list(result.refused) == ["bad"]


async def test_a_server_that_is_gone_ends_it() -> None:
    """I3: what is not done is not tried one by one against a dead server."""
    server = Server()
    server.answers["a"] = KubeUnavailable("gone")
    result = await _apply(server, _of("a", "b", "c"), in_flight=1)
    assert result.ended is server.answers["a"]
    assert server.begun == ["a"]


async def test_what_is_under_way_comes_to_its_end_when_reading_fails() -> None:
    """I4: no write of a pass that has ended is still to come."""
    server = Server()
    server.open.clear()

    async def entries() -> AsyncIterator[Entry]:
        yield _entry("a")
        raise GitError("unreadable")

    applying = asyncio.create_task(_apply(server, entries()))
    await _until(server, "a")
    for _ in range(20):
        await asyncio.sleep(0)
    assert not applying.done()
    server.open.set()
    with pytest.raises(GitError, match="unreadable"):
        await applying
    assert server.done == ["a"]


async def test_a_pass_that_is_cut_short_leaves_nothing_behind() -> None:
    server = Server()
    server.open.clear()
    applying = asyncio.create_task(_apply(server, _of("a", "b", "c")))
    await _until(server, "a", "b")
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying
    server.open.set()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert server.done == []


async def test_the_next_is_loaded_while_one_is_used_and_no_more() -> None:
    loaded: list[str] = []

    async def load(chunk: str) -> Loaded:
        loaded.append(chunk)
        return Loaded()

    used: list[str] = []
    async for chunk, _ in loaded_ahead("abc", load):
        await asyncio.sleep(0)
        used.append(chunk)
        assert loaded == list("abc"[: len(used) + 1])
    assert used == ["a", "b", "c"]
    assert [chunk async for chunk, _ in loaded_ahead("", load)] == []


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt()])
async def test_whatever_loading_raises_reaches_its_reader_and_not_the_loop(
    error: BaseException,
) -> None:
    async def load(_chunk: str) -> Loaded:
        raise error

    with pytest.raises(type(error)):
        await anext(loaded_ahead("ab", load))
