"""List and watch: every change is reported once, whatever the server does in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import kmock as km
import pytest

from guildnet.errors import KubeForbidden, KubeUnavailable
from guildnet.kube import CONFIG_MAPS, KubeClient, WatchEvent, list_and_watch

pytestmark = pytest.mark.kmock(cls=km.RawHandler)

PATH = CONFIG_MAPS.path("agents")
EXPIRED = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
NEVER = 3600
Response = km.Response  # type: ignore[attr-defined]  # kmock leaves it out of __all__


def obj(name: str, version: int, uid: str = "") -> dict[str, Any]:
    metadata = {"namespace": "agents", "name": name, "uid": uid or f"uid-{name}"}
    return {"metadata": {**metadata, "resourceVersion": str(version)}, "data": {"n": name}}


def listed(version: int, *items: dict[str, Any], more: str = "") -> dict[str, Any]:
    metadata = {"resourceVersion": str(version), "continue": more}
    return {"kind": "ConfigMapList", "metadata": metadata, "items": list(items)}


def line(type_: str, of: dict[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": of}).encode() + b"\n"


def refusal(code: int, body: dict[str, Any]) -> Any:
    return Response(payload=body, status=code)


async def hang() -> None:
    await asyncio.sleep(NEVER)


class Script:
    """The server's answers to lists and to watches, in order; afterwards it does not answer."""

    def __init__(self, lists: list[Any], watches: list[Any]) -> None:
        self.lists = lists
        self.watches = watches
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: Any) -> Any:
        self.asked.append(dict(request.params))
        answers = self.watches if "watch" in request.params else self.lists
        answer = answers.pop(0) if answers else hang
        return answer if isinstance(answer, Response) else Response(payload=answer, status=200)


@pytest.fixture
def watching(kmock: Any, make_kubeconfig: Callable[..., Path]) -> Callable[..., Any]:
    def watch(script: Script, **options: Any) -> AsyncGenerator[WatchEvent[int], None]:
        kmock[f"get {PATH}"] << script
        client = KubeClient.from_kubeconfig(make_kubeconfig(str(kmock.url)))

        async def events() -> AsyncGenerator[WatchEvent[int], None]:
            def version(of: dict[str, Any]) -> int:
                return int(of["metadata"]["resourceVersion"])

            backoff = timedelta(seconds=0.05)
            async with client:
                source = list_and_watch(
                    client, CONFIG_MAPS, version, max_backoff=backoff, **options
                )
                async with aclosing(source):
                    async for event in source:
                        yield event

        return events()

    return watch


async def received(events: AsyncGenerator[WatchEvent[int], None], count: int) -> list[Any]:
    """The next events in short: (type, name, value)."""
    found: list[Any] = []
    async with asyncio.timeout(10):
        async for event in events:
            found.append((event.type, event.name, event.value))
            if len(found) == count:
                break
    return found


async def test_all_pages_then_changes_are_reported(watching: Callable[..., Any]) -> None:
    watch = (line("MODIFIED", obj("a", 11)), line("DELETED", obj("b", 12)), hang)
    script = Script([listed(10, obj("a", 1), more="x"), listed(10, obj("b", 2))], [watch])
    async with aclosing(watching(script, page_size=1)) as events:
        assert await received(events, 5) == [
            ("ADDED", "a", 1),
            ("ADDED", "b", 2),
            ("SYNCED", "", None),
            ("MODIFIED", "a", 11),
            ("DELETED", "b", 12),
        ]
    assert script.asked[1]["continue"] == "x"
    assert script.asked[2]["resourceVersion"] == "10"
    assert script.asked[2]["allowWatchBookmarks"] == "true"


async def test_a_watch_that_ends_is_resumed_at_its_resource_version(
    watching: Callable[..., Any],
) -> None:
    """I5: when the server ends a watch normally, nothing is listed again."""
    bookmark = {"kind": "ConfigMap", "metadata": {"resourceVersion": "50"}}
    script = Script(
        [listed(10, obj("a", 1))],
        [(line("BOOKMARK", bookmark),), (line("ADDED", obj("b", 51)), hang)],
    )
    async with aclosing(watching(script)) as events:
        assert await received(events, 3) == [
            ("ADDED", "a", 1),
            ("SYNCED", "", None),
            ("ADDED", "b", 51),
        ]
    assert [asked.get("resourceVersion") for asked in script.asked] == [None, "10", "50"]


@pytest.mark.parametrize("in_stream", [True, False])
async def test_a_gap_is_listed_again_and_reported_as_differences(
    watching: Callable[..., Any], in_stream: bool
) -> None:
    """I1: an object is reported as deleted only when a complete list lacks it."""
    expired: Any = (line("ERROR", EXPIRED),) if in_stream else refusal(410, EXPIRED)
    before = listed(10, obj("a", 1), obj("b", 2), obj("c", 3), obj("d", 4))
    after = listed(90, obj("a", 1), obj("b", 80), obj("d", 85, "uid-new"), obj("e", 86))
    script = Script([before, after], [expired])
    async with aclosing(watching(script)) as events:
        assert (await received(events, 5))[-1] == ("SYNCED", "", None)
        assert await received(events, 6) == [
            ("MODIFIED", "b", 80),
            ("DELETED", "d", None),
            ("ADDED", "d", 85),
            ("ADDED", "e", 86),
            ("DELETED", "c", None),
            ("SYNCED", "", None),
        ]


async def test_a_list_that_expires_half_way_deletes_nothing(
    watching: Callable[..., Any],
) -> None:
    """I1: an incomplete list deletes nothing."""
    first = listed(10, obj("a", 1), obj("b", 2))
    half = listed(20, obj("a", 1), more="x")
    script = Script(
        [first, half, refusal(410, EXPIRED), listed(30, obj("a", 1), obj("b", 2))],
        [(line("ERROR", EXPIRED),)],
    )
    async with aclosing(watching(script)) as events:
        assert [event[0] for event in await received(events, 4)] == [
            "ADDED",
            "ADDED",
            "SYNCED",
            "SYNCED",
        ]


async def test_failures_and_the_recovery_are_reported(watching: Callable[..., Any]) -> None:
    """I10: a refusing cluster is reported at once, and so is its recovery."""
    refused = refusal(403, {"kind": "Status", "code": 403, "message": "no"})
    script = Script([refused, refusal(500, {}), listed(10, obj("a", 1))], [])
    async with aclosing(watching(script)) as events:
        found = [await anext(events) for _ in range(4)]
    assert [event.type for event in found] == ["DISRUPTED", "DISRUPTED", "ADDED", "SYNCED"]
    assert isinstance(found[0].error, KubeForbidden)
    assert isinstance(found[1].error, KubeUnavailable)


async def test_a_hanging_watch_and_its_recovery_are_reported(watching: Callable[..., Any]) -> None:
    """I10: silence is a failure after the idle timeout; a server that answers again is reported
    without any object changing."""
    script = Script(
        [listed(10, obj("a", 1))],
        [(b"", hang), (line("BOOKMARK", obj("x", 12)), hang)],
    )
    async with aclosing(watching(script, idle_timeout=timedelta(seconds=0.3))) as events:
        found = [await anext(events) for _ in range(4)]
    assert [event.type for event in found] == ["ADDED", "SYNCED", "DISRUPTED", "SYNCED"]
    assert found[2].error is not None
    assert found[2].error.reason == "Timeout"


async def test_garbage_in_a_watch_is_reported_as_a_failure(watching: Callable[..., Any]) -> None:
    script = Script(
        [listed(10, obj("a", 1))],
        [(b"{no json\n",), (b'{"type": "ADDED"}\n',), (line("ADDED", obj("b", 11)),)],
    )
    async with aclosing(watching(script)) as events:
        types = [(await anext(events)).type for _ in range(6)]
    assert types[:3] == ["ADDED", "SYNCED", "DISRUPTED"]
    assert types.count("DISRUPTED") == 2
    assert script.asked[-1]["resourceVersion"] == "10"


async def test_lines_may_be_split_into_any_chunks(watching: Callable[..., Any]) -> None:
    whole = line("ADDED", obj("b", 11)) + line("ADDED", obj("c", 12))
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    watch = tuple(part for piece in pieces for part in (piece, lambda: asyncio.sleep(0)))
    script = Script([listed(10)], [(*watch, hang)])
    async with aclosing(watching(script)) as events:
        assert await received(events, 3) == [
            ("SYNCED", "", None),
            ("ADDED", "b", 11),
            ("ADDED", "c", 12),
        ]
