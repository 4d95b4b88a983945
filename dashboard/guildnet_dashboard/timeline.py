"""What one commit of the status branch changed in a task's record, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from guildnet import conditions
from guildnet_dashboard.states import (
    Link,
    State,
    condition_list,
    number,
    pull_request_link,
    text,
)

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecordChange:
    """One thing that changed; `state` colours it, None for what is neither good nor bad."""

    words: str
    state: State | None = None
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A status commit and what it changed in one task."""

    commit: str
    when: datetime
    subject: str
    run: int
    steps: tuple[RecordChange, ...]


def changes_between(before: Record | None, after: Record | None) -> tuple[RecordChange, ...]:
    """What changed from one record to the next, in the order a run goes.

    None stands for no record: the first one, or the task's removal.
    """
    if after is None:
        return (RecordChange("Left the source branch", State.CANCELLED),)
    steps: list[RecordChange] = []
    same_run = before is not None and number(before, "run") == number(after, "run")
    base: Record = before if before is not None and same_run else {}
    if not same_run:
        steps.append(RecordChange(f"Run {number(after, 'run')}", State.PENDING))
    if number(after, "attempt") > max(1, number(base, "attempt")):
        steps.append(RecordChange(f"Attempt {number(after, 'attempt')}", State.STARTING))
    if number(after, "start") > max(1, number(base, "start")):
        steps.append(RecordChange(f"Start {number(after, 'start')} of the attempt", State.STARTING))
    steps += _condition_steps(base, after)
    pull_request = after.get("pullRequest")
    if pull_request and pull_request != base.get("pullRequest"):
        steps.append(RecordChange("Pull request", None, pull_request_link(pull_request)))
    result = text(after, "result")
    if result and result != text(base, "result"):
        steps.append(RecordChange(_with(result, text(after, "message")), _result_state(result)))
    return tuple(steps) or (RecordChange("Record updated"),)


# Succeeded and Finished are told by the result; the last two only say that work goes on.
_TOLD = (
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


def _condition_steps(before: Record, after: Record) -> list[RecordChange]:
    old = {text(c, "type"): (c.get("status"), c.get("reason")) for c in condition_list(before)}
    steps = []
    for condition in condition_list(after):
        kind, status, reason = (text(condition, key) for key in ("type", "status", "reason"))
        if kind not in _TOLD or old.get(kind) == (status, reason) or status == "Unknown":
            continue
        if kind in _BAD_WHEN_TRUE and status == "False" and kind not in old:
            continue
        good = (status == "True") != (kind in _BAD_WHEN_TRUE)
        message = "" if good else text(condition, "message")
        words = _with(f"{kind}: {reason}" if reason else kind, message)
        steps.append(RecordChange(words, None if good else _trouble_state(kind, reason)))
    return steps


def _trouble_state(kind: str, reason: str) -> State | None:
    if reason in ("TaskSucceeded", "Disabled", "Stopped", "Queued", "DependencyPending"):
        return None
    if kind == conditions.SUSPENDED:
        return State.SUSPENDED
    return State.STARTING if reason in ("Provisioning", "Retrying") else State.FAILED


def _result_state(result: str) -> State:
    if result == conditions.TASK_SUCCEEDED:
        return State.SUCCEEDED
    return State.CANCELLED if result == conditions.CANCELLED else State.FAILED


def _with(words: str, message: str) -> str:
    return f"{words} ({message})" if message else words
