"""Step 7, apply: server-side apply, many in flight. Nothing is written that does not differ.

One object that is refused fails alone; a server that is gone ends the step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from guildnet import labels
from guildnet.errors import KubeError, KubeForbidden, KubeNotFound, KubeUnavailable
from guildnet_reconciler.steps.plan import Entry


class Applier(Protocol):
    """What this step needs of a cluster's client."""

    async def apply(
        self, obj: Mapping[str, Any], *, field_manager: str, force: bool = True
    ) -> dict[str, Any]: ...


@dataclass
class Applied:
    """What came of it beyond what `on_applied` was told: refusals by task, what was overtaken, and
    the error that ended the step early, if one did, with what it `left` undone."""

    refused: dict[str, KubeError] = field(default_factory=dict)
    overtaken: set[str] = field(default_factory=set)
    ended: KubeError | None = None
    left: set[str] = field(default_factory=set)


async def apply_entries(
    client: Applier,
    entries: Iterable[Entry],
    *,
    in_flight: int,
    is_current: Callable[[Entry], bool],
    on_applied: Callable[[Entry, dict[str, Any]], None],
) -> Applied:
    """Apply each entry's object; `is_current` is asked right before, so that a revision that has
    been overtaken meanwhile is not applied first."""
    result = Applied()
    queue = list(reversed(list(entries)))

    async def work() -> None:
        while queue and result.ended is None:
            await _one(client, queue.pop(), result, is_current, on_applied)

    workers = min(in_flight, len(queue))
    await asyncio.gather(*(work() for _ in range(workers)))
    result.left |= {entry.task for entry in queue}
    return result


async def _one(
    client: Applier,
    entry: Entry,
    result: Applied,
    is_current: Callable[[Entry], bool],
    on_applied: Callable[[Entry, dict[str, Any]], None],
) -> None:
    if not is_current(entry):
        result.overtaken.add(entry.task)
        return
    assert entry.object is not None
    try:
        obj = await client.apply(entry.object, field_manager=labels.RECONCILER)
    except (KubeUnavailable, KubeForbidden, KubeNotFound) as error:
        # None of them is about this one object: the server, our rights, the namespace, the CRD.
        result.ended = error
        result.left.add(entry.task)
    except KubeError as error:
        result.refused[entry.task] = error
    else:
        on_applied(entry, obj)
