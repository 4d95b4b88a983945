"""The end: what is under way is stopped, a run gets its result, the editor stays. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from guildnet import conditions
from guildnet.agent_api.state import AgentState, StopReason
from guildnet.units import parse_duration, parse_time, rfc3339
from guildnet_operator.decisions.actions import (
    RECHECK,
    Decision,
    Stop,
    park_if_deployed,
)
from guildnet_operator.decisions.inputs import (
    SUSPENDED_STEP,
    Observed,
    collect_again_at,
    has_more_to_collect,
)
from guildnet_operator.decisions.status import NOT_RETRIED, StatusDraft
from guildnet_operator.views import PodView

STOP_RETRY = timedelta(seconds=20)
POD_LOST_AFTER = timedelta(seconds=180)  # 120 s of grace, and what the node needs to say so
_KILLED = 137  # the exit code of SIGKILL, which the kernel sends to who is out of memory
_PHASES = {
    conditions.TASK_SUCCEEDED: "Succeeded",
    conditions.CANCELLED: "Cancelled",
    conditions.BUDGET_EXCEEDED: "BudgetExceeded",
}


def is_overdue(o: Observed) -> bool:
    deadline = o.deadline
    return deadline is not None and o.now >= deadline


def is_cut_off(o: Observed) -> bool:
    """Whether the time is over; what was worked in time is published also after it."""
    state = o.reported
    is_publishing = state is not None and state.step == "Publishing"
    return is_overdue(o) and not is_publishing


def result_of(state: AgentState | None) -> str | None:
    """The result of a start that came to its own end."""
    if state is None or state.step != "Finished":
        return None
    if state.outcome == "Succeeded":
        return conditions.TASK_SUCCEEDED
    if state.failure is not None and state.failure.reason == conditions.BUDGET_EXCEEDED:
        return conditions.BUDGET_EXCEEDED
    failed_itself = state.failure is None or not state.failure.infrastructure
    return conditions.TASK_FAILED if state.outcome == "Failed" and failed_itself else None


def stop_agent(o: Observed, reason: StopReason) -> Decision | None:
    """End what is under way and have its work handed over; None once nothing is."""
    pod, state = o.assigned_pod, o.reported
    if not o.status.get("start") or pod is None or pod.is_dead:
        return None
    if state is not None and state.is_over:
        return None
    if pod.deleted_at is not None:
        # It was told by its node already; only its own end, or the node's, is waited for.
        gone = pod.deleted_at + POD_LOST_AFTER
        if o.now >= gone:
            return None
        return Decision(_stopping(o, reason), children="park", listen=pod, wake_at=gone)
    if o.agent is not None and o.agent.pod == pod.uid and state is None and o.agent_state:
        return None  # allocated, and never told
    if o.unreachable_for >= o.unreachable_after:
        return Decision(_stopping(o, reason), children="park", wake_at=o.now + RECHECK)
    stop = stop_once(o, state, pod, reason) if state is not None else None
    again = o.now + RECHECK
    return Decision(_stopping(o, reason), command=stop, listen=pod, wake_at=again)


def stop_once(o: Observed, state: AgentState, pod: PodView, reason: StopReason) -> Stop | None:
    """Told once, and again only when it seems not to have been heard."""
    told = o.agent.stop_sent if o.agent else None
    if told is not None and told[:2] == (state.triple, reason) and o.now - told[2] < STOP_RETRY:
        return None
    return Stop(pod, reason)


def _stopping(o: Observed, reason: StopReason) -> dict[str, Any]:
    draft = StatusDraft(o).pod()
    if o.reported is not None:
        draft.agent(o.reported)
    message = "its work is being handed over"
    return (
        draft.put(phase="Stopping")
        .condition(conditions.RECONCILING, "True", reason, message)
        .build()
    )


def cancelled(o: Observed) -> Decision:
    """What came to its own end before it could be cancelled keeps its result."""
    result = result_of(o.reported)
    return finish(o, result or conditions.CANCELLED)


def overdue(o: Observed) -> Decision:
    result = result_of(o.reported)
    if result in (conditions.TASK_SUCCEEDED, conditions.BUDGET_EXCEEDED):
        return finish(o, result)
    return finish(o, conditions.DEADLINE_EXCEEDED)


def suspended(o: Observed) -> Decision:
    state = o.reported
    draft = StatusDraft(o).accepted()
    if state is not None:
        draft.agent(state)
    message = "suspended; the workspace is kept, and the clock stands still"
    draft.put(phase="Suspended", step=SUSPENDED_STEP, pod=None, node=None).editor()
    draft.condition(conditions.READY, "False", "Suspended", message)
    draft.idle().condition(conditions.SUSPENDED, "True", "Suspended", message)
    return Decision(draft.build(), children=park_if_deployed(o))


def finish(o: Observed, result: str) -> Decision:
    """The run's result, once and for all (I7)."""
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
    draft.condition(
        conditions.READY, "True" if good else "False", _ready_reason(o, result), message
    )
    draft.condition(conditions.SUSPENDED, "False", "NotSuspended")
    stalled = "" if good or result == conditions.CANCELLED else result
    draft.idle(stalled=stalled, message=message)
    return Decision(draft.build(), wake_at=o.now)


def collect_first(o: Observed, state: AgentState) -> Decision:
    """The end is told once its artifacts are kept: what is finished is whole."""
    draft = StatusDraft(o).accepted().pod().agent(state).put(phase=state.step)
    again = collect_again_at(o)
    return Decision(draft.build(), collect=True, listen=o.assigned_pod, wake_at=again)


def _ready_reason(o: Observed, result: str) -> str:
    return "TaskSucceeded" if result == conditions.TASK_SUCCEEDED else failed_reason(o.reported)


def failed_reason(state: AgentState | None) -> str:
    """What Ready says of an attempt that failed."""
    failure = state.failure if state is not None else None
    return "ContextFailed" if failure and failure.reason == "ContextFailed" else "TaskFailed"


def failure_text(o: Observed, state: AgentState) -> str:
    """Why the attempt failed, in the agent's words, and which one it was."""
    why = state.failure.message if state.failure is not None else f"exit code {state.exit_code}"
    if state.failure is not None and state.failure.reason in NOT_RETRIED:
        return f"{why}; not tried again by itself: another attempt would come to the same"
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
            f"the attempt took longer than {o.spec.get('timeout')}; raise timeout or ask for less"
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
    return f"{why}{where}; raise spec.agent.budget to go on in another run"


def after_finish(o: Observed) -> Decision:
    """Only the editor is left; nothing of the result changes any more (I7)."""
    draft = StatusDraft(o).editor()
    park_at = _park_time(o)
    if park_at > o.now:
        return Decision(draft.build(), wake_at=park_at)
    return Decision(draft.build(), children="park" if "Deployment" in o.children else "keep")


def _park_time(o: Observed) -> datetime:
    """When the pod goes: at once where nobody is to look into it."""
    finished = parse_time(o.status.get("finishedAt") or rfc3339(o.now))
    succeeded = conditions.find(o.status.get("conditions", ()), conditions.SUCCEEDED)
    cancelled = succeeded is not None and succeeded.get("reason") == conditions.CANCELLED
    if o.task.deleting or o.spec.get("suspend") or cancelled or not o.has_editor:
        return finished
    return finished + parse_duration(o.spec.get("editor", {}).get("afterFinished", "1h"))
