"""The timeline of a task: what each status commit changed in its record, as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from guildnet import conditions
from guildnet_dashboard.json_values import condition_list, number, text
from guildnet_dashboard.links import Link, pull_request_link
from guildnet_dashboard.states import State

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecordChange:
    """One change; `state` sets its colour, None for a neutral one."""

    text: str
    state: State | None = None
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A status commit, and what it changed in the record of one task."""

    commit: str
    when: datetime
    subject: str
    run: int
    changes: tuple[RecordChange, ...]


def changes_between(before: Record | None, after: Record | None) -> tuple[RecordChange, ...]:
    """The changes from one record to the next, in the order of a run.

    `before` is None for a task's first record, `after` once the record was removed.
    """
    if after is None:
        return (RecordChange("Removed from the source branch", State.CANCELLED),)
    changes: list[RecordChange] = []
    same_run = before is not None and number(before, "run") == number(after, "run")
    base: Record = before if before is not None and same_run else {}
    if not same_run:
        changes.append(RecordChange(f"Run {number(after, 'run')}", State.PENDING))
    if number(after, "attempt") > max(1, number(base, "attempt")):
        changes.append(RecordChange(f"Attempt {number(after, 'attempt')}", State.STARTING))
    if number(after, "start") > max(1, number(base, "start")):
        changes.append(
            RecordChange(f"Start {number(after, 'start')} of the attempt", State.STARTING)
        )
    changes += _condition_changes(base, after)
    pull_request = after.get("pullRequest")
    if pull_request and pull_request != base.get("pullRequest"):
        changes.append(RecordChange("Pull request", None, pull_request_link(pull_request)))
    result = text(after, "result")
    if result and result != text(base, "result"):
        changes.append(
            RecordChange(_with_message(result, text(after, "message")), _result_state(result))
        )
    return tuple(changes) or (RecordChange("Record updated"),)


# Succeeded and Finished are left out: the result shows them.
_SHOWN_CONDITIONS = (
    conditions.ACCEPTED,
    conditions.SCHEDULED,
    conditions.READY,
    conditions.EDITOR_READY,
    conditions.PUBLISHED,
    conditions.ARTIFACTS_COLLECTED,
    conditions.SUSPENDED,
    conditions.STALLED,
)
_BAD_WHEN_TRUE = (conditions.SUSPENDED, conditions.STALLED)


def _condition_changes(before: Record, after: Record) -> list[RecordChange]:
    old = {text(c, "type"): (c.get("status"), c.get("reason")) for c in condition_list(before)}
    changes = []
    for condition in condition_list(after):
        kind, status, reason = (text(condition, key) for key in ("type", "status", "reason"))
        if (
            kind not in _SHOWN_CONDITIONS
            or old.get(kind) == (status, reason)
            or status == "Unknown"
        ):
            continue
        if kind in _BAD_WHEN_TRUE and status == "False" and kind not in old:
            continue
        good = (status == "True") != (kind in _BAD_WHEN_TRUE)
        message = "" if good else text(condition, "message")
        shown = _with_message(f"{kind}: {reason}" if reason else kind, message)
        changes.append(RecordChange(shown, None if good else _unmet_state(kind, reason)))
    return changes


def _unmet_state(kind: str, reason: str) -> State | None:
    if reason in ("TaskSucceeded", "Disabled", "Stopped", "Queued", "DependencyPending"):
        return None
    if kind == conditions.SUSPENDED:
        return State.SUSPENDED
    return State.STARTING if reason in ("Provisioning", "Retrying") else State.FAILED


def _result_state(result: str) -> State:
    if result == conditions.TASK_SUCCEEDED:
        return State.SUCCEEDED
    if result == conditions.BUDGET_EXCEEDED:
        return State.BUDGET_EXCEEDED
    return State.CANCELLED if result == conditions.CANCELLED else State.FAILED


def _with_message(title: str, message: str) -> str:
    return f"{title} ({message})" if message else title
