"""Waiting for a slot, holding one, and releasing it. Pure.

A task whose agent never becomes ready would hold its slot forever, perhaps for a cause that only a
person can remove. After `provision_timeout` it releases the slot if another task waits, does not
compete for one during a cooldown, and then queues again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from guildnet import conditions
from guildnet.units import parse_time, rfc3339
from guildnet_operator.decisions.actions import Decision, park_if_deployed
from guildnet_operator.decisions.diagnosis import pod_failure
from guildnet_operator.decisions.inputs import COOLDOWN, QUEUED_STEP, SUSPENDED_STEP, Observed
from guildnet_operator.decisions.status import StatusDraft


def cooldown_ends(status: Mapping[str, Any]) -> datetime | None:
    """When a task that released its slot queues again; None if it released none."""
    yielded = status.get("yieldedAt")
    return parse_time(yielded) + COOLDOWN if yielded else None


def is_cooling_down(status: Mapping[str, Any], now: datetime) -> bool:
    until = cooldown_ends(status)
    return until is not None and now < until


def wait_for_slot(o: Observed, draft: StatusDraft) -> Decision:
    """Queue, or stay out of the queue during the cooldown, whose message then stays."""
    ends = cooldown_ends(o.status) if is_cooling_down(o.status, o.now) else None
    if ends is None:
        draft.condition(conditions.SCHEDULED, "False", "Queued", o.admission.message)
    if not o.status.get("yieldedAt"):
        draft.condition(conditions.READY, "False", "Provisioning", "waiting for a slot")
    queued = draft.put(phase="Queued").waiting("Queued").build()
    return Decision(queued, children=park_if_deployed(o), wake_at=ends)


def leave_slot(o: Observed, draft: StatusDraft) -> StatusDraft:
    """Release the slot, if it held one, without a cooldown. A suspended task stays suspended."""
    if not o.status.get("attempt") or o.status.get("step") == SUSPENDED_STEP:
        return draft
    return draft.put(step=QUEUED_STEP, admittedAt=None)


def admitted_at(o: Observed) -> str:
    """When provisioning began; reset once the agent has been ready."""
    before = o.status.get("admittedAt")
    return before if before and o.status.get("step") == "Waiting" else rfc3339(o.now)


def has_provision_timed_out(o: Observed) -> bool:
    """Whether the agent should have been ready long ago, and another task waits for the slot.

    Once its command has started, the task's own timeout bounds how long it holds the slot.
    """
    admitted = o.status.get("admittedAt")
    if not admitted or o.status.get("startedAt") or o.status.get("step") != "Waiting":
        return False
    return bool(o.admission.waiting) and o.now - parse_time(admitted) >= o.provision_timeout


def release_slot(o: Observed) -> Decision:
    """Release the slot, delete the pod, and start the cooldown."""
    draft = StatusDraft(o).accepted()
    failure = pod_failure(o)
    timeout, cooldown = _minutes(o.provision_timeout), _minutes(COOLDOWN)
    why = failure.text if failure is not None else (o.agent.error if o.agent else "")
    message = (
        f"the agent was not ready within {timeout} min, so its slot went to another task; it "
        f"queues again in {cooldown} min. {why or 'No cause was reported'}"
    )
    draft.put(phase="Queued", step=QUEUED_STEP, admittedAt=None, yieldedAt=rfc3339(o.now))
    draft.condition(conditions.SCHEDULED, "False", "Queued", message)
    reason = failure.reason if failure and failure.type == conditions.READY else "Provisioning"
    draft.condition(conditions.READY, "False", reason, message).editor()
    return Decision(draft.working("Queued", message).build(), children="park")


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)
