"""Ending a run: stop the agent, set the result, keep the editor for a while. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from guildnet import conditions
from guildnet.agent_api.state import AgentState, StopReason
from guildnet.units import parse_duration, parse_time, rfc3339
from guildnet_operator.decisions.actions import RECHECK, Decision, Stop, park_if_deployed
from guildnet_operator.decisions.inputs import (
    SUSPENDED_STEP,
    Observed,
    collect_again_at,
    has_more_to_collect,
)
from guildnet_operator.decisions.status import NOT_RETRIED, StatusDraft
from guildnet_operator.views import PodView

STOP_RETRY = timedelta(seconds=20)
# The pod's grace period of 120 s, and the time its node needs to report the end.
POD_LOST_AFTER = timedelta(seconds=180)
_KILLED = 137  # the exit code after SIGKILL, which the kernel sends on lack of memory
_PHASES = {
    conditions.TASK_SUCCEEDED: "Succeeded",
    conditions.CANCELLED: "Cancelled",
    conditions.BUDGET_EXCEEDED: "BudgetExceeded",
}


def is_overdue(o: Observed) -> bool:
    deadline = o.deadline
    return deadline is not None and o.now >= deadline


def is_cut_off(o: Observed) -> bool:
    """Whether the deadline has passed; work that is being published may still be published."""
    state = o.reported
    is_publishing = state is not None and state.step == "Publishing"
    return is_overdue(o) and not is_publishing


def result_of(state: AgentState | None) -> str | None:
    """The result that the agent reported; None if it reported none, or lost the start."""
    if state is None or state.step != "Finished":
        return None
    if state.outcome == "Succeeded":
        return conditions.TASK_SUCCEEDED
    if state.failure is not None and state.failure.reason == conditions.BUDGET_EXCEEDED:
        return conditions.BUDGET_EXCEEDED
    failed_itself = state.failure is None or not state.failure.infrastructure
    return conditions.TASK_FAILED if state.outcome == "Failed" and failed_itself else None


def stop_agent(o: Observed, reason: StopReason) -> Decision | None:
    """Stop the agent and let it publish its work; None once it works no more."""
    pod, state = o.assigned_pod, o.reported
    if not o.status.get("start") or pod is None or pod.is_dead:
        return None
    if state is not None and state.is_over:
        return None
    if pod.deleted_at is not None:
        # Its node has sent SIGTERM already: wait for its end, or until the node counts as lost.
        gone = pod.deleted_at + POD_LOST_AFTER
        if o.now >= gone:
            return None
        return Decision(_stopping(o, reason), children="park", poll=pod, wake_at=gone)
    if o.agent is not None and o.agent.pod == pod.uid and state is None and o.agent_state:
        return None  # the start was assigned, but never sent
    if o.unreachable_for >= o.unreachable_after:
        return Decision(_stopping(o, reason), children="park", wake_at=o.now + RECHECK)
    stop = stop_once(o, state, pod, reason) if state is not None else None
    again = o.now + RECHECK
    return Decision(_stopping(o, reason), command=stop, poll=pod, wake_at=again)


def stop_once(o: Observed, state: AgentState, pod: PodView, reason: StopReason) -> Stop | None:
    """The command to send; None for `STOP_RETRY` after the same one was sent."""
    sent = o.agent.stop_sent if o.agent else None
    if sent is not None and sent[:2] == (state.triple, reason) and o.now - sent[2] < STOP_RETRY:
        return None
    return Stop(pod, reason)


def _stopping(o: Observed, reason: StopReason) -> dict[str, Any]:
    draft = StatusDraft(o).pod()
    if o.reported is not None:
        draft.agent(o.reported)
    message = "stopping the agent; it publishes its work first"
    draft.put(phase="Stopping").condition(conditions.RECONCILING, "True", reason, message)
    return draft.build()


def finish_cancelled(o: Observed) -> Decision:
    """A run that ended by itself before it was cancelled keeps its own result."""
    result = result_of(o.reported)
    return finish(o, result or conditions.CANCELLED)


def finish_overdue(o: Observed) -> Decision:
    """A success, or a spent budget, that the agent reported in time stays the result."""
    result = result_of(o.reported)
    if result in (conditions.TASK_SUCCEEDED, conditions.BUDGET_EXCEEDED):
        return finish(o, result)
    return finish(o, conditions.DEADLINE_EXCEEDED)


def suspend(o: Observed) -> Decision:
    """Scale the pod down; its timeout is not counted meanwhile."""
    state = o.reported
    draft = StatusDraft(o).accepted()
    if state is not None:
        draft.agent(state)
    message = "suspended by spec.suspend; the workspace is kept, and the timeout is not counted"
    draft.put(phase="Suspended", step=SUSPENDED_STEP, pod=None, node=None).editor()
    draft.condition(conditions.READY, "False", "Suspended", message)
    draft.idle().condition(conditions.SUSPENDED, "True", "Suspended", message)
    return Decision(draft.build(), children=park_if_deployed(o))


def finish(o: Observed, result: str) -> Decision:
    """Set the run's result, which never changes afterwards (I7)."""
    state = o.reported
    if state is not None and has_more_to_collect(o, state):
        return collect_first(o, state)
    draft = StatusDraft(o).accepted().pod()
    if state is not None:
        draft.agent(state).refused(state)
    draft.no_more_artifacts()
    ended = state.finished_at if state is not None and state.finished_at else o.now
    draft.put(finishedAt=rfc3339(min(ended, o.now)), phase=_PHASES.get(result, "Failed"))
    message = _result_message(o, result)
    good = result == conditions.TASK_SUCCEEDED
    draft.condition(conditions.SUCCEEDED, "True" if good else "False", result, message)
    draft.condition(conditions.FINISHED, "True", result, message)
    ready = "TaskSucceeded" if good else failed_reason(state)
    draft.condition(conditions.READY, "True" if good else "False", ready, message)
    draft.condition(conditions.SUSPENDED, "False", "NotSuspended")
    stalled = "" if good or result == conditions.CANCELLED else result
    draft.idle(stalled=stalled, message=message)
    return Decision(draft.build(), wake_at=o.now)


def collect_first(o: Observed, state: AgentState) -> Decision:
    """Collect the artifacts before the result is set, so that a finished run is complete."""
    draft = StatusDraft(o).accepted().pod().agent(state).put(phase=state.step)
    again = collect_again_at(o)
    return Decision(draft.build(), collect=True, poll=o.assigned_pod, wake_at=again)


def failed_reason(state: AgentState | None) -> str:
    """The reason of condition Ready after a failed attempt."""
    failure = state.failure if state is not None else None
    return "ContextFailed" if failure and failure.reason == "ContextFailed" else "TaskFailed"


def failure_text(o: Observed, state: AgentState) -> str:
    """Why the attempt failed, as the agent reports it, and its number."""
    why = state.failure.message if state.failure is not None else f"exit code {state.exit_code}"
    if state.failure is not None and state.failure.reason in NOT_RETRIED:
        return f"{why}; not retried, because another attempt would fail in the same way"
    if state.exit_code == _KILLED:
        why += "; if it ran out of memory, raise agent.resources.limits.memory"
    return f"{why} (attempt {o.status['attempt']} of {o.spec.get('retries', 0) + 1})"


def _result_message(o: Observed, result: str) -> str:
    state = o.reported
    if result == conditions.CANCELLED:
        where = o.status.get("branch") or (state.branch if state is not None else None)
        return f"cancelled; its work is on {where}" if where else "cancelled"
    if result == conditions.DEADLINE_EXCEEDED:
        return (
            f"the attempt exceeded its timeout of {o.spec.get('timeout')}; raise spec.timeout, or "
            "give the task less to do"
        )
    if state is None:
        return ""
    if result == conditions.TASK_SUCCEEDED:
        return state.published.message if state.published is not None else ""
    if result == conditions.BUDGET_EXCEEDED:
        return _budget_text(state)
    return failure_text(o, state)


def _budget_text(state: AgentState) -> str:
    why = state.failure.message if state.failure is not None else "the budget is spent"
    where = f"; its work is on {state.branch}" if state.branch else ""
    return f"{why}{where}; raise spec.agent.budget, which starts another run"


def after_finish(o: Observed) -> Decision:
    """Keep the editor until its time is over; the result does not change any more (I7)."""
    draft = StatusDraft(o).editor()
    park_at = _park_time(o)
    if park_at > o.now:
        # Only of the mesh is there more to learn.
        poll = o.pod if o.mesh is not None else None
        return Decision(draft.build(), poll=poll, wake_at=park_at)
    return Decision(draft.build(), children=park_if_deployed(o))


def _park_time(o: Observed) -> datetime:
    """When the pod is scaled down: at once if the editor is not needed."""
    finished = parse_time(o.status.get("finishedAt") or rfc3339(o.now))
    succeeded = conditions.find(o.status.get("conditions", ()), conditions.SUCCEEDED)
    cancelled = succeeded is not None and succeeded.get("reason") == conditions.CANCELLED
    if o.task.deleting or o.spec.get("suspend") or cancelled or not o.has_editor:
        return finished
    return finished + parse_duration(o.spec.get("editor", {}).get("afterFinished", "1h"))
