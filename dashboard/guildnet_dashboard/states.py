"""Task states, and the summary of a task's record for lists. Pure.

Records may be damaged, or older or newer than this code, so nothing here raises on their content:
fields of an unexpected type are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from guildnet import conditions
from guildnet_dashboard.json_values import condition_list, number, parse_object, text
from guildnet_dashboard.links import Link, pull_request_link


class State(StrEnum):
    """The state a task is listed under, in display order."""

    STALLED = "stalled"
    INVALID = "invalid"
    RUNNING = "running"
    STARTING = "starting"
    QUEUED = "queued"
    PENDING = "pending"
    SUSPENDED = "suspended"
    FAILED = "failed"
    BUDGET_EXCEEDED = "budget-exceeded"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    UNREADABLE = "unreadable"


ACTIVE = (State.STALLED, State.RUNNING, State.STARTING, State.QUEUED, State.PENDING)
_ORDER = {state: index for index, state in enumerate(State)}


def order(state: State) -> int:
    return _ORDER[state]


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """The fields of a `status.json` that lists show; `blob` is the id of the whole file.

    Times are RFC 3339 as recorded, "" if unknown; `updated` is the latest of them.
    """

    blob: str
    state: State
    reason: str = ""
    message: str = ""
    run: int = 0
    attempt: int = 0
    created: str = ""
    started: str = ""
    finished: str = ""
    updated: str = ""
    pull_request: Link | None = None


def summary_of(data: bytes, blob: str) -> TaskSummary:
    """Summarise a `status.json`; one that cannot be parsed is UNREADABLE, with the cause."""
    try:
        content = parse_object(data)
    except ValueError as error:
        return TaskSummary(
            blob, State.UNREADABLE, "Unreadable", f"the record cannot be read: {error}"
        )
    listed = condition_list(content)
    state, reason, message = _state(content, listed)
    times = [text(content, key) for key in ("createdAt", "startedAt", "finishedAt")]
    moved = [text(c, "lastTransitionTime") for c in listed]
    return TaskSummary(
        blob=blob,
        state=state,
        reason=reason,
        message=message,
        run=number(content, "run"),
        attempt=number(content, "attempt"),
        created=times[0],
        started=times[1],
        finished=times[2],
        updated=max([*times, *moved]),
        pull_request=pull_request_link(content.get("pullRequest")),
    )


def _state(content: Mapping[str, Any], listed: list[Mapping[str, Any]]) -> tuple[State, str, str]:
    result = text(content, "result")
    if result:
        state = {
            conditions.TASK_SUCCEEDED: State.SUCCEEDED,
            conditions.CANCELLED: State.CANCELLED,
            conditions.BUDGET_EXCEEDED: State.BUDGET_EXCEEDED,
        }.get(result, State.FAILED)
        return state, result, text(content, "message")

    def condition(kind: str) -> tuple[str, str, str]:
        found = conditions.find(listed, kind) or {}
        return text(found, "status"), text(found, "reason"), text(found, "message")

    for kind, wanted, state in (
        (conditions.SUSPENDED, "True", State.SUSPENDED),
        (conditions.STALLED, "True", State.STALLED),
        (conditions.ACCEPTED, "False", State.STALLED),
        (conditions.READY, "True", State.RUNNING),
    ):
        status, reason, message = condition(kind)
        if status == wanted:
            return state, reason, message
    status, reason, message = condition(conditions.SCHEDULED)
    if status == "False":
        return State.QUEUED, reason, message
    status, reason, message = condition(conditions.READY)
    if reason:
        return State.STARTING, reason, message
    if listed:
        return State.STARTING, "", ""
    return State.PENDING, "", "Waiting for the operator of the org's cluster."


def total_counts(counts: Iterable[Mapping[State, int]]) -> dict[State, int]:
    """Add up counts by state, in the order of State."""
    total = dict.fromkeys(State, 0)
    for each in counts:
        for state, count in each.items():
            total[state] += count
    return total
