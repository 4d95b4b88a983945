"""List and watch one kind: all objects, then every change, across errors and restarts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from sys import intern
from typing import Any, Generic, Literal, TypeVar, cast

from guildnet.backoff import Backoff
from guildnet.errors import KubeError, KubeGone
from guildnet.kube.answers import bad_answer, checked_object, parsed, version_of
from guildnet.kube.api_errors import MAX_READ_CHARS, api_error
from guildnet.kube.client import KubeClient
from guildnet.kube.kinds import ResourceKind

T = TypeVar("T")

EventType = Literal["ADDED", "MODIFIED", "DELETED", "SYNCED", "DISRUPTED"]

# etcd stores objects of at most 1.5 MiB; JSON escapes can make them several times longer.
MAX_LINE_BYTES = 16 * 1024 * 1024
_FIRST_PAUSE = timedelta(seconds=0.5)
# After so long the server ends a watch. The time is random, so that not all watches reconnect at
# once.
_WATCH_SECONDS = (240, 300)


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """One event of `list_and_watch`.

    ADDED and MODIFIED carry `value` (the projection). DELETED carries it if the server sent the
    last state; it is None if the object was deleted while there was no watch. SYNCED follows each
    list, and the end of a disruption: all existing objects have been reported. DISRUPTED: the watch
    failed because of `error` and is retried.
    """

    type: EventType
    namespace: str = ""
    name: str = ""
    uid: str = ""
    value: T | None = None
    error: KubeError | None = None


async def list_and_watch(
    client: KubeClient,
    kind: ResourceKind,
    project: Callable[[dict[str, Any]], T],
    *,
    namespace: str | None = None,
    label_selector: str = "",
    field_selector: str = "",
    page_size: int = 500,
    idle_timeout: timedelta = timedelta(seconds=90),
    max_backoff: timedelta = timedelta(seconds=30),
) -> AsyncGenerator[WatchEvent[T], None]:
    """All events of one kind, until the generator is closed or cancelled.

    `project` is applied to each object when it is read; besides its result only identity and
    resourceVersion are kept. `namespace` None means the client's, "" all namespaces. If the watch
    cannot be resumed (410), everything is listed again: only changed objects are reported, and
    objects that are gone are reported as DELETED. If the server sends nothing for `idle_timeout`
    (bookmarks come every minute), DISRUPTED is reported.
    """
    selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
    watch = _Watch(
        client,
        kind,
        project,
        _Scope(namespace, {k: v for k, v in selectors.items() if v}, page_size, idle_timeout),
    )
    backoff = Backoff(_FIRST_PAUSE, max_backoff, jitter=0.5)
    async with aclosing(watch.events(backoff)) as events:
        async for event in events:
            yield event


@dataclass(frozen=True, slots=True)
class _Scope:
    namespace: str | None
    selectors: Mapping[str, str]
    page_size: int
    idle_timeout: timedelta


@dataclass(frozen=True, slots=True)
class _Identity:
    namespace: str
    name: str
    uid: str
    version: str

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class _Watch(Generic[T]):
    """The state of one list and watch: its resourceVersion, and the objects that exist."""

    def __init__(
        self,
        client: KubeClient,
        kind: ResourceKind,
        project: Callable[[dict[str, Any]], T],
        scope: _Scope,
    ) -> None:
        self._client = client
        self._kind = kind
        self._project = project
        self._scope = scope
        self._known: dict[tuple[str, str], _Identity] = {}
        self._version: str | None = None
        self._disrupted = False
        self._failures = 0

    async def events(self, backoff: Backoff) -> AsyncGenerator[WatchEvent[T], None]:
        while True:
            try:
                follow = self._list() if self._version is None else self._follow()
                async with aclosing(follow) as events:
                    async for event in events:
                        yield event
            except KubeGone:
                self._version = None
                self._failures += 1
            except KubeError as error:
                self._disrupted = True
                self._failures += 1
                yield WatchEvent("DISRUPTED", error=error)
                if error.retry_after:
                    await asyncio.sleep(min(error.retry_after, backoff.longest.total_seconds()))
            if self._failures:
                await asyncio.sleep(backoff.pause(self._failures).total_seconds())

    async def _list(self) -> AsyncGenerator[WatchEvent[T], None]:
        seen: set[tuple[str, str]] = set()
        version = ""
        pages = self._client.list_pages(
            self._kind,
            self._scope.namespace,
            label_selector=self._scope.selectors.get("labelSelector", ""),
            field_selector=self._scope.selectors.get("fieldSelector", ""),
            page_size=self._scope.page_size,
        )
        async for page in pages:
            version = version_of(page, self._place)
            for item in page["items"]:
                seen.add(_identity(checked_object(item, self._place)).key)
                for event in self._take(item):
                    yield event
        for key in [key for key in self._known if key not in seen]:
            yield self._deleted(self._known.pop(key))
        self._version = version
        self._recovered()
        yield WatchEvent("SYNCED")

    async def _follow(self) -> AsyncGenerator[WatchEvent[T], None]:
        query = {
            "resourceVersion": str(self._version),
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),  # noqa: S311
            **self._scope.selectors,
        }
        chunks = self._client.watch_bytes(
            self._kind, self._scope.namespace, query, idle_timeout=self._scope.idle_timeout
        )
        received = False
        async for line in _lines(chunks):
            if not line:
                if self._disrupted:
                    self._recovered()
                    yield WatchEvent("SYNCED")
                continue
            received = True
            for event in self._read(line):
                self._recovered()
                yield event
        # Pause before the next watch if the server ended this one without an event.
        self._failures = 0 if received else self._failures + 1

    def _read(self, line: bytes) -> Iterator[WatchEvent[T]]:
        event = parsed(line, self._place)
        type_, obj = event.get("type"), event.get("object")
        if not isinstance(type_, str) or not isinstance(obj, dict):
            raise bad_answer("a watch event without type or object", self._place)
        if type_ == "ERROR":
            raise self._refused(obj)
        if type_ == "BOOKMARK":
            self._version = self._version_in(obj)
            return
        checked_object(obj, self._place)
        if type_ in ("ADDED", "MODIFIED"):
            yield from self._take(obj)
        elif type_ == "DELETED":
            gone = _identity(obj)
            self._known.pop(gone.key, None)
            yield self._event("DELETED", gone, obj)
        self._version = version_of(obj, self._place)

    def _version_in(self, bookmark: dict[str, Any]) -> str:
        if not isinstance(bookmark.get("metadata"), dict):
            raise bad_answer("a bookmark without metadata", self._place)
        return version_of(bookmark, self._place)

    def _refused(self, status: dict[str, Any]) -> KubeError:
        code = status.get("code")
        texts = (status.get(key) for key in ("message", "reason"))
        message, reason = (text if isinstance(text, str) else "" for text in texts)
        return api_error(
            code if isinstance(code, int) and 400 <= code < 600 else 500,
            self._redact(message),
            reason,
            self._place,
        )

    def _redact(self, text: str) -> str:
        return self._client.redact.message(text[:MAX_READ_CHARS])

    def _take(self, obj: dict[str, Any]) -> Iterator[WatchEvent[T]]:
        new = _identity(obj)
        old = self._known.get(new.key)
        if old == new:
            return
        self._known[new.key] = new
        if old is not None and old.uid != new.uid:
            yield self._deleted(old)
            old = None
        yield self._event("ADDED" if old is None else "MODIFIED", new, obj)

    def _event(self, type_: EventType, of: _Identity, obj: dict[str, Any]) -> WatchEvent[T]:
        # Items of a list lack apiVersion and kind; add them for `project`.
        obj.setdefault("apiVersion", self._kind.api_version)
        obj.setdefault("kind", self._kind.kind)
        return WatchEvent(type_, of.namespace, of.name, of.uid, self._project(obj))

    def _deleted(self, gone: _Identity) -> WatchEvent[T]:
        return WatchEvent("DELETED", gone.namespace, gone.name, gone.uid)

    def _recovered(self) -> None:
        self._disrupted = False
        self._failures = 0

    @property
    def _place(self) -> str:
        return f"{self._client.place}: watch {self._kind.plural}"


def _identity(obj: Mapping[str, Any]) -> _Identity:
    metadata = obj["metadata"]
    # Intern the strings: the watch and the readers of its events then share one copy.
    return _Identity(
        intern(metadata["namespace"]),
        intern(metadata["name"]),
        intern(metadata["uid"]),
        intern(metadata["resourceVersion"]),
    )


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split chunks into lines without line breaks; an empty chunk becomes an empty line."""
    buffer = bytearray()
    async with aclosing(cast("Any", chunks)) as pieces:
        async for chunk in pieces:
            if not chunk:
                yield b""
                continue
            buffer += chunk
            if b"\n" not in chunk:
                if len(buffer) > MAX_LINE_BYTES:
                    raise api_error(0, "a watch event is too large", "TooLarge", "watch")
                continue
            *whole, rest = bytes(buffer).split(b"\n")
            buffer = bytearray(rest)
            for line in whole:
                if line:
                    yield line
