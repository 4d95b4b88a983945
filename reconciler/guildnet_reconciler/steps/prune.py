"""Step 8, prune: deletes our objects, with the UID and resourceVersion last seen (I2)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from guildnet.errors import KubeConflict, KubeError, KubeForbidden, KubeNotFound, KubeUnavailable
from guildnet.kube import AGENT_TASKS, ResourceKind
from guildnet_reconciler.steps.plan import Entry


class Deleter(Protocol):
    """What this step needs of a cluster's client."""

    async def delete(
        self,
        kind: ResourceKind,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None: ...


@dataclass
class Pruned:
    """The result. Objects in `moved` have changed since they were seen: plan them again."""

    deleted: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    refused: dict[str, KubeError] = field(default_factory=dict)
    ended: KubeError | None = None


async def prune_entries(client: Deleter, entries: Iterable[Entry], *, in_flight: int) -> Pruned:
    """Delete each entry's object under the preconditions of its UID and resourceVersion."""
    result = Pruned()
    queue = list(entries)

    async def work() -> None:
        while queue and result.ended is None:
            await _one(client, queue.pop(), result)

    await asyncio.gather(*(work() for _ in range(min(in_flight, len(queue)))))
    return result


async def _one(client: Deleter, entry: Entry, result: Pruned) -> None:
    seen = entry.observed
    assert seen is not None
    try:
        await client.delete(
            AGENT_TASKS, entry.task, uid=seen.uid, resource_version=seen.resource_version
        )
    except KubeNotFound:
        result.deleted.add(entry.task)
    except KubeConflict:
        result.moved.add(entry.task)
    except (KubeUnavailable, KubeForbidden) as error:
        result.ended = error
    except KubeError as error:
        result.refused[entry.task] = error
    else:
        result.deleted.add(entry.task)
