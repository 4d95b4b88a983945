"""Before the work: accept, queue, make the pod, allocate a start to it, tell its agent. Pure.

A pod works only when told: `prepare` writes attempt and start into the status, and only when no
earlier pod of the AgentTask is left; `tell` tells the agent, once the status says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from guildnet import conditions
from guildnet.units import parse_time, rfc3339
from guildnet_operator.decisions.actions import RECHECK, Decision, Start, park_if_deployed
from guildnet_operator.decisions.admission import (
    admitted_at,
    has_provision_timed_out,
    is_cooling_down,
    leave,
    queue,
    release_slot,
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
from guildnet_operator.decisions.status import StatusDraft
from guildnet_operator.references import Refusal
from guildnet_operator.views import PodView

MAX_STARTS = 10
FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(minutes=5)


def prepare(o: Observed) -> Decision:
    """Accept, queue, make the pod, and allocate a start to it once it stands alone and serves."""
    draft = StatusDraft(o)
    if o.refusal is not None:
        return _refuse(o, draft, o.refusal)
    draft.accepted()
    if o.spec.get("dependenciesSucceeded") is False:
        return _wait_for_dependencies(o, draft)
    if o.status.get("pod") and lost_starts(o.status) + 1 >= MAX_STARTS:
        return _stall(o, draft)
    if is_cooling_down(o.status, o.now) or not o.admission.admitted:
        return queue(o, draft)
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
    return Decision(draft.build(), children="ensure", listen=pod if is_up else None, wake_at=wake)


def _refuse(o: Observed, draft: StatusDraft, refusal: Refusal) -> Decision:
    """It takes no place, also where it had one; its clock, if it runs, runs on."""
    leave(o, draft).put(phase="Refused")
    draft.condition(conditions.ACCEPTED, "False", refusal.reason, refusal.message)
    draft.condition(conditions.READY, "False", "Provisioning", "not accepted")
    status = draft.idle(stalled=refusal.reason, message=refusal.message).build()
    return Decision(status, children=park_if_deployed(o), wake_at=o.deadline)


def _wait_for_dependencies(o: Observed, draft: StatusDraft) -> Decision:
    names = ", ".join(o.spec.get("dependsOn", ()))
    if o.failed_dependency:
        reason = "DependencyFailed"
        message = f"{o.failed_dependency} failed; rerun it, or take it out of dependsOn"
    else:
        reason, message = "DependencyPending", f"waiting for {names}"
    leave(o, draft).put(phase="Waiting").condition(conditions.SCHEDULED, "False", reason, message)
    draft.condition(conditions.READY, "False", "Provisioning", message)
    status = draft.waiting(reason, message).build()
    return Decision(status, children=park_if_deployed(o), wake_at=o.deadline)


def _assignment_time(o: Observed, pod: PodView | None) -> datetime | None:
    """When a start may be allocated to the pod; None while it is not fit for one.

    An unexpected loss of the start before it is backed off, counted from when this pod came, or
    from when what ran in it failed.
    """
    if pod is None or not pod.serves or pod.template != o.template:
        return None
    starts = o.status.get("start", 0)
    if starts == 0 or not o.status.get("pod"):
        return o.now
    since = [pod.created]
    if pod.name == o.status["pod"]:
        told = o.reported
        since += [told.finished_at] if told is not None and told.finished_at else []
    return max(since) + backoff(lost_starts(o.status) + 1)


def lost_starts(status: Mapping[str, Any]) -> int:
    """Starts in a row that came to nothing before the one that status names; a start that was
    ended on purpose, as by a suspension, is none."""
    return int(status.get("lostStarts", max(0, status.get("start", 0) - 1)))


def backoff(lost: int) -> timedelta:
    """The pause after the given number of starts in a row that came to nothing."""
    return min(FIRST_BACKOFF * 2.0 ** min(lost - 1, 10), LONGEST_BACKOFF)


def _assign_start(o: Observed, draft: StatusDraft, pod: PodView) -> Decision:
    """Into the status first: the agent is told when this very status is there."""
    start = o.status.get("start", 0) + 1
    is_after_a_loss = start > 1 and bool(o.status.get("pod"))
    draft.put(lostStarts=lost_starts(o.status) + 1 if is_after_a_loss else 0)
    draft.put(start=start, pod=pod.name, node=pod.node, phase="Provisioning").pod()
    attempt = max(1, o.status.get("attempt", 0))
    message = f"attempt {attempt}, start {start} on {pod.name}"
    draft.condition(conditions.READY, "False", "Provisioning", message)
    return Decision(draft.working("Starting", message).build(), listen=pod, wake_at=o.now)


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
    message = lost or "the agent's pod is being made"
    draft.condition(conditions.READY, "False", loss_reason(o) or "Provisioning", message)
    draft.working("Provisioning", message)


def _resumed_start(o: Observed) -> str | None:
    """The command's start, moved by as long as the suspension took: its clock stood still."""
    suspended = conditions.find(o.status.get("conditions", ()), conditions.SUSPENDED)
    started = o.status.get("startedAt")
    if not started or suspended is None or suspended.get("status") != "True":
        return started
    return rfc3339(parse_time(started) + (o.now - parse_time(suspended["lastTransitionTime"])))


def _stall(o: Observed, draft: StatusDraft) -> Decision:
    why = loss_message(o).partition("; ")[0]
    message = (
        f"{MAX_STARTS} starts in a row came to nothing. {why}. Rerun the task once it is cured"
    )
    draft.put(phase="Stalled", step=STALLED_STEP, admittedAt=None).editor()
    draft.condition(conditions.READY, "False", loss_reason(o) or "CrashLooping", message)
    stalled = draft.idle(stalled="TooManyStarts", message=message)
    return Decision(stalled.build(), children="park", wake_at=o.deadline)


def is_start_assigned(o: Observed) -> bool:
    """Status names a start, its pod is the one there is, and it has a place."""
    if not o.status.get("start") or o.status.get("step") in INACTIVE_STEPS:
        return False
    return o.pod is not None and o.pod.name == o.status.get("pod")


def tell(o: Observed) -> Decision:
    """The status names this pod's start, and its agent does not know of it yet."""
    pod, state = o.pod, o.agent_state
    assert pod is not None
    if o.is_unreported or state is None:
        return release_slot(o) if has_provision_timed_out(o) else await_first_report(o)
    draft = StatusDraft(o).accepted()
    report_unreachable(o, draft)
    if state.step not in ("Waiting", "Finished", "Stopped"):
        stop = stop_once(o, state, pod, "Superseded")
        return Decision(draft.build(), command=stop, listen=pod, wake_at=o.now + RECHECK)
    return Decision(
        draft.build(), command=Start(pod), listen=pod, wake_at=o.now + timedelta(seconds=2)
    )


def await_first_report(o: Observed) -> Decision:
    """Its agent has said nothing yet: it may know of its start already."""
    draft = StatusDraft(o).accepted()
    report_unreachable(o, draft)
    return Decision(draft.build(), listen=o.assigned_pod, wake_at=o.now + RECHECK)
