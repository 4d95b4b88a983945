"""Step 7, apply: server-side apply, many in flight. Nothing is written that does not differ.

One object that is refused fails alone; a server that is gone ends the step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
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
    """Objects that the API server refused, by task; and the error that ended the step early, if one
    did."""

    refused: dict[str, KubeError] = field(default_factory=dict)
    ended: KubeError | None = None


async def apply_entries(
    client: Applier,
    entries: AsyncIterator[Entry],
    *,
    in_flight: int,
    is_current: Callable[[Entry], bool],
    on_applied: Callable[[Entry, dict[str, Any]], None],
) -> Applied:
    """Apply each entry's object as it comes, `in_flight` at once; `is_current` is asked right
    before, so that an outdated revision is not applied.

    An exception of `entries` is raised here after the requests in flight have ended.
    """
    result = Applied()
    turn = asyncio.Lock()
    is_over = False

    async def work() -> None:
        nonlocal is_over
        try:
            while not is_over and result.ended is None:
                async with turn:
                    entry = await anext(entries, None)
                if entry is None:
                    return
                await _one(client, entry, result, is_current, on_applied)
        except BaseException:
            is_over = True
            raise

    workers = [asyncio.ensure_future(work()) for _ in range(in_flight)]
    try:
        await asyncio.gather(*workers)
    finally:
        await asyncio.gather(*workers, return_exceptions=True)
    return result


async def _one(
    client: Applier,
    entry: Entry,
    result: Applied,
    is_current: Callable[[Entry], bool],
    on_applied: Callable[[Entry, dict[str, Any]], None],
) -> None:
    if not is_current(entry):
        return
    assert entry.object is not None
    try:
        obj = await client.apply(entry.object, field_manager=labels.RECONCILER)
    except (KubeUnavailable, KubeForbidden, KubeNotFound) as error:
        # None of them is about this one object: the server, our rights, the namespace, the CRD.
        result.ended = error
    except KubeError as error:
        result.refused[entry.task] = error
    else:
        on_applied(entry, obj)
