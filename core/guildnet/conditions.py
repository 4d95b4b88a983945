"""Conditions as the Kubernetes API conventions and kstatus define them; monotonic within a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from guildnet.units import rfc3339

Status = Literal["True", "False", "Unknown"]

ACCEPTED = "Accepted"
SCHEDULED = "Scheduled"
READY = "Ready"
EDITOR_READY = "EditorReady"
PUBLISHED = "Published"
ARTIFACTS_COLLECTED = "ArtifactsCollected"
SUCCEEDED = "Succeeded"
FINISHED = "Finished"
SUSPENDED = "Suspended"
RECONCILING = "Reconciling"
STALLED = "Stalled"

# In the order a person reads them.
TYPES = (
    ACCEPTED,
    SCHEDULED,
    READY,
    EDITOR_READY,
    PUBLISHED,
    ARTIFACTS_COLLECTED,
    SUCCEEDED,
    FINISHED,
    SUSPENDED,
    RECONCILING,
    STALLED,
)

# Reasons of Succeeded for a finished run, and the values of `result` in records.
TASK_SUCCEEDED = "TaskSucceeded"
TASK_FAILED = "TaskFailed"
DEADLINE_EXCEEDED = "DeadlineExceeded"
BUDGET_EXCEEDED = "BudgetExceeded"
CANCELLED = "Cancelled"
RETRIES_EXHAUSTED = "RetriesExhausted"
RESULTS = (
    TASK_SUCCEEDED,
    TASK_FAILED,
    DEADLINE_EXCEEDED,
    BUDGET_EXCEEDED,
    CANCELLED,
    RETRIES_EXHAUSTED,
)

MAX_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: Status
    reason: str
    message: str = ""


def merged(
    observed: Sequence[Mapping[str, Any]],
    wanted: Iterable[Condition],
    *,
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """`observed` updated with `wanted`, in the order of TYPES.

    A transition time changes only when the status changes, so an unchanged state gives an
    unchanged list.
    """
    result = {str(c["type"]): dict(c) for c in observed}
    for condition in wanted:
        before = result.get(condition.type)
        same = before is not None and before["status"] == condition.status
        result[condition.type] = {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message[:MAX_MESSAGE],
            "observedGeneration": generation,
            "lastTransitionTime": before["lastTransitionTime"]
            if before is not None and same
            else rfc3339(now),
        }
    order = {name: index for index, name in enumerate(TYPES)}
    return sorted(result.values(), key=lambda c: order.get(c["type"], len(order)))


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((c for c in conditions if c.get("type") == kind), None)


def is_true(conditions: Iterable[Mapping[str, Any]], kind: str) -> bool:
    condition = find(conditions, kind)
    return condition is not None and condition.get("status") == "True"


def is_finished(status: Mapping[str, Any], run: int) -> bool:
    """Whether the operator has reported the end of `run`, and not of an older one."""
    return status.get("run") == run and is_true(status.get("conditions", ()), FINISHED)
