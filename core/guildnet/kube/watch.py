"""List and watch of one kind: what is there, then every change, whatever breaks in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from guildnet.errors import KubeError
from guildnet.kube.client import KubeClient
from guildnet.kube.kinds import ResourceKind

T = TypeVar("T")

EventType = Literal["ADDED", "MODIFIED", "DELETED", "SYNCED", "DISRUPTED"]


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """One thing learned.

    ADDED and MODIFIED carry `value` (the projection); DELETED carries it where the server told
    the last state, None where the object had vanished during a gap. SYNCED: all that existed has
    been told (comes after each list). DISRUPTED: the server cannot be watched now, `error` says
    why; tries go on, and a SYNCED or further event ends the disruption.
    """

    type: EventType
    namespace: str = ""
    name: str = ""
    uid: str = ""
    value: T | None = None
    error: KubeError | None = None


def list_and_watch(
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
) -> AsyncIterator[WatchEvent[T]]:
    """All events of one kind, for ever; end it by closing the generator (or cancelling).

    `project` is applied to each object as it is read, and nothing else of it is kept but
    uid and resourceVersion. `namespace` None is the client's, "" all. After a gap that the
    server cannot bridge (410) everything is listed again: only what differs is told, and
    objects that vanished meanwhile come as DELETED.
    """
    raise NotImplementedError
