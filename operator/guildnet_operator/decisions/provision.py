"""From acceptance to the start of an agent: queue, create the pod, assign a start, send it. Pure.

A pod works only on request. `provision` writes attempt and start into the status, once no earlier
pod of the AgentTask is left; `send_start` sends them to the agent, once the status holds them. So
no two pods ever work on one start, and a restarted pod works on none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from guildnet import conditions
from guildnet.backoff import Backoff
from guildnet.units import parse_time, rfc3339
from guildnet_operator.decisions.actions import RECHECK, Decision, Start, park_if_deployed
from guildnet_operator.decisions.admission import (
    admitted_at,
    has_provision_timed_out,
    is_cooling_down,
    leave_slot,
    release_slot,
    wait_for_slot,
)
from guildnet_operator.decisions.diagnosis import (
    loss_message,
    loss_reason,
    pod_failure,
    report_unreachable,
)
from guildnet_operator.decisions.finish import stop_once
from guildnet_operator.decisions.inputs import (
    INACTIVE_STEPS,
    STALLED_STEP,
    SUSPENDED_STEP,
    Observed,
)
from guildnet_operator.decisions.org_budget import wait_for_budget, waits_for_budget
from guildnet_operator.decisions.status import StatusDraft
from guildnet_operator.references import Refusal
from guildnet_operator.views import PodView

MAX_STARTS = 10
# Without jitter: a decision is pure, and pods come up at different times anyway.
BACKOFF = Backoff(timedelta(seconds=10), timedelta(minutes=5), jitter=0.0)


def provision(o: Observed) -> Decision:
    """Accept, queue, create the pod, and assign a start to it once it serves alone."""
    draft = StatusDraft(o)
    if o.refusal is not None:
        return _refuse(o, draft, o.refusal)
    draft.accepted()
    if o.spec.get("dependenciesSucceeded") is False:
        return _wait_for_dependencies(o, draft)
    if o.status.get("pod") and lost_starts(o.status) + 1 >= MAX_STARTS:
        return _stall(o, draft)
    if waits_for_budget(o.status, o.org, o.now):
        return wait_for_budget(o, draft)
    if is_cooling_down(o.status, o.now) or not o.admission.admitted:
        return wait_for_slot(o, draft)
    if o.status.get("step") == SUSPENDED_STEP:
        draft.put(startedAt=_resumed_start(o))
    draft.put(attempt=max(1, o.status.get("attempt", 0)), step="Waiting")
    draft.put(admittedAt=admitted_at(o), yieldedAt=None)
    pod = o.pod
    assign_at = _assignment_time(o, pod)
    if pod is not None and assign_at is not None and assign_at <= o.now:
        return _assign_start(o, draft, pod)
    if assign_at is None and has_provision_timed_out(o):
        return release_slot(o)
    _report_provisioning(o, draft)
    wake = min(filter(None, (assign_at, o.deadline, o.now + RECHECK)))
    is_up = pod is not None and pod.container("supervisor").ready
    return Decision(draft.build(), children="ensure", poll=pod if is_up else None, wake_at=wake)


def _refuse(o: Observed, draft: StatusDraft, refusal: Refusal) -> Decision:
    """Set Accepted=False and release the slot; a running timeout goes on counting."""
    leave_slot(o, draft).put(phase="Refused")
    draft.condition(conditions.ACCEPTED, "False", refusal.reason, refusal.message)
    draft.condition(conditions.READY, "False", "Provisioning", "not accepted: see Accepted")
    status = draft.idle(stalled=refusal.reason, message=refusal.message).build()
    return Decision(status, children=park_if_deployed(o), wake_at=o.deadline)


def _wait_for_dependencies(o: Observed, draft: StatusDraft) -> Decision:
    names = ", ".join(o.spec.get("dependsOn", ()))
    if o.failed_dependency:
        reason = "DependencyFailed"
        message = f"task {o.failed_dependency} failed; rerun it, or remove it from spec.dependsOn"
    else:
        reason, message = "DependencyPending", f"waiting for these tasks to succeed: {names}"
    leave_slot(o, draft).put(phase="Waiting")
    draft.condition(conditions.SCHEDULED, "False", reason, message)
    draft.condition(conditions.READY, "False", "Provisioning", message)
    status = draft.waiting(reason, message).build()
    return Decision(status, children=park_if_deployed(o), wake_at=o.deadline)


def _assignment_time(o: Observed, pod: PodView | None) -> datetime | None:
    """When a start may be assigned to the pod; None while the pod cannot take one.

    After a lost start there is a back-off, counted from the creation of this pod, or from the
    failure of what ran in it.
    """
    if pod is None or not pod.serves or pod.template != o.template:
        return None
    starts = o.status.get("start", 0)
    if starts == 0 or not o.status.get("pod"):
        return o.now
    since = [pod.created]
    if pod.name == o.status["pod"]:
        state = o.reported
        since += [state.finished_at] if state is not None and state.finished_at else []
    return max(since) + BACKOFF.ceiling(lost_starts(o.status) + 1)


def lost_starts(status: Mapping[str, Any]) -> int:
    """Consecutive starts lost before the one that status names. A start ended on purpose, such as
    by a suspension, does not count."""
    return int(status.get("lostStarts", max(0, status.get("start", 0) - 1)))


def _assign_start(o: Observed, draft: StatusDraft, pod: PodView) -> Decision:
    """Write the start into the status; it is sent to the agent once the status holds it."""
    start = o.status.get("start", 0) + 1
    is_after_a_loss = start > 1 and bool(o.status.get("pod"))
    draft.put(lostStarts=lost_starts(o.status) + 1 if is_after_a_loss else 0)
    draft.put(start=start, pod=pod.name, node=pod.node, phase="Provisioning").pod()
    attempt = max(1, o.status.get("attempt", 0))
    message = f"attempt {attempt}, start {start} in pod {pod.name}"
    draft.condition(conditions.READY, "False", "Provisioning", message)
    return Decision(draft.working("Starting", message).build(), poll=pod, wake_at=o.now)


def _report_provisioning(o: Observed, draft: StatusDraft) -> None:
    draft.put(phase="Provisioning").unscheduled().pod()
    failure = pod_failure(o)
    lost = loss_message(o)
    if failure is not None:
        draft.failure(failure)
        if failure.type != conditions.READY:
            draft.condition(conditions.READY, "False", "Provisioning", failure.reason)
        draft.working(failure.reason, failure.text)
        return
    message = lost or "the agent's pod is being created"
    draft.condition(conditions.READY, "False", loss_reason(o) or "Provisioning", message)
    draft.working("Provisioning", message)


def _resumed_start(o: Observed) -> str | None:
    """When the command started, moved by the length of the suspension, which is not counted."""
    suspended = conditions.find(o.status.get("conditions", ()), conditions.SUSPENDED)
    started = o.status.get("startedAt")
    if not started or suspended is None or suspended.get("status") != "True":
        return started
    return rfc3339(parse_time(started) + (o.now - parse_time(suspended["lastTransitionTime"])))


def _stall(o: Observed, draft: StatusDraft) -> Decision:
    why = loss_message(o).partition("; ")[0]
    message = f"{MAX_STARTS} consecutive starts failed. {why}. Fix the cause, then rerun the task"
    draft.put(phase="Stalled", step=STALLED_STEP, admittedAt=None).editor()
    draft.condition(conditions.READY, "False", loss_reason(o) or "CrashLooping", message)
    stalled = draft.idle(stalled="TooManyStarts", message=message)
    return Decision(stalled.build(), children="park", wake_at=o.deadline)


def is_start_assigned(o: Observed) -> bool:
    """Whether status names a start in the only pod left, and the task holds its slot."""
    if not o.status.get("start") or o.status.get("step") in INACTIVE_STEPS:
        return False
    return o.pod is not None and o.pod.name == o.status.get("pod")


def send_start(o: Observed) -> Decision:
    """Send the start that status names to the pod's agent, which has not reported it yet."""
    pod, state = o.pod, o.agent_state
    assert pod is not None
    if o.is_unreported or state is None:
        return release_slot(o) if has_provision_timed_out(o) else await_first_report(o)
    draft = StatusDraft(o).accepted()
    report_unreachable(o, draft)
    if state.step not in ("Waiting", "Finished", "Stopped"):
        stop = stop_once(o, state, pod, "Superseded")
        return Decision(draft.build(), command=stop, poll=pod, wake_at=o.now + RECHECK)
    return Decision(
        draft.build(), command=Start(pod), poll=pod, wake_at=o.now + timedelta(seconds=2)
    )


def await_first_report(o: Observed) -> Decision:
    """Wait: the agent may have received its start already, but has not reported anything yet."""
    draft = StatusDraft(o).accepted()
    report_unreachable(o, draft)
    return Decision(draft.build(), poll=o.assigned_pod, wake_at=o.now + RECHECK)
