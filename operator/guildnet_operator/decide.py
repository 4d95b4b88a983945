"""The operator's whole behaviour: from what is to what next. Pure.

Read `decide` first: it asks its questions in the order in which their answers matter. A pod works
only when told: `_prepare` writes attempt and start into the status, and only when no earlier pod
of the AgentTask is left; `_work` tells the agent, once the status says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from guildnet import conditions
from guildnet.units import parse_duration, parse_time, rfc3339
from guildnet_operator.agent_state import AgentState
from guildnet_operator.failures import PodFailure, classify
from guildnet_operator.observed import (
    STALLED_STEP,
    SUSPENDED_STEP,
    Observed,
    missing_artifacts,
)
from guildnet_operator.projections import PodView
from guildnet_operator.status import StatusDraft, first_status, next_run_status

MAX_STARTS = 10
FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(minutes=5)
STOP_AGAIN = timedelta(seconds=20)
LOST_AFTER = timedelta(seconds=180)  # 120 s of grace, and what the node needs to say so
LOOK_AGAIN = timedelta(seconds=10)
_KILLED = 137  # the exit code of SIGKILL, which the kernel sends to who is out of memory
# What another attempt would come to again: the command is not what failed.
_NOT_THE_COMMANDS = ("PushRejected", "ForgeRefused", "InvalidSpec")

StopReason = Literal["Cancelled", "Suspended", "DeadlineExceeded", "Superseded"]


@dataclass(frozen=True, slots=True)
class Start:
    """Tell the agent in `pod` to begin what the status names."""

    pod: PodView


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell the agent in `pod` to end and hand over its work."""

    pod: PodView
    reason: StopReason


@dataclass(frozen=True)
class Decision:
    """What to do, in this order: objects, artifacts, status, command.

    `children`: keep them as they are, ensure all of them with a pod, or park them without one.
    `listen`: the pod whose agent is to be listened to. `wake_at`: when to look again though
    nothing is heard.
    """

    status: Mapping[str, Any]
    children: Literal["keep", "ensure", "park"] = "keep"
    command: Start | Stop | None = None
    collect: bool = False
    listen: PodView | None = None
    wake_at: datetime | None = None


def decide(o: Observed) -> Decision:
    """What next for one AgentTask."""
    if o.status.get("run", 0) == 0:
        return decide(o.with_status(first_status(o)))
    if o.status["run"] != o.task.run:
        return _change_run(o)
    if o.is_finished:
        return _after_the_end(o)
    if o.spec.get("cancel") or o.task.deleting:
        return _end_work(o, "Cancelled") or _cancelled(o)
    if o.spec.get("suspend"):
        return _end_work(o, "Suspended") or _suspended(o)
    if o.told is not None:
        return _work(o, o.told)
    if _is_overdue(o):
        return _end_work(o, "DeadlineExceeded") or _overdue(o)
    if _is_allocated(o):
        return _tell(o)
    return _prepare(o)


# --- an edit -----------------------------------------------------------------------------------


def _change_run(o: Observed) -> Decision:
    """End what is under way, or let it end, then begin the run that the spec asks for."""
    status = o.status
    if conditions.is_finished(status, status["run"]):
        succeeded = conditions.find(status.get("conditions", ()), conditions.SUCCEEDED)
        result = str(succeeded["reason"]) if succeeded else conditions.CANCELLED
        return decide(o.with_status(next_run_status(o, result)))
    told, let_finish = o.told, o.spec.get("onChange") == "Ignore"
    if let_finish and told is not None and not told.is_over and not _is_to_end(o):
        return _follow(o, told)
    ending = _end_work(o, "Superseded")
    if ending is not None:
        return ending
    return decide(o.with_status(next_run_status(o, _result_of(told) or conditions.CANCELLED)))


def _is_to_end(o: Observed) -> bool:
    return bool(o.spec.get("cancel") or o.spec.get("suspend") or o.task.deleting)


def _result_of(state: AgentState | None) -> str | None:
    """The result of a start that came to its own end."""
    if state is None or state.step != "Finished":
        return None
    if state.outcome == "Succeeded":
        return conditions.TASK_SUCCEEDED
    failed_itself = state.failure is None or not state.failure.infrastructure
    return conditions.TASK_FAILED if state.outcome == "Failed" and failed_itself else None


# --- before the work ---------------------------------------------------------------------------


def _prepare(o: Observed) -> Decision:
    """Accept, queue, make the pod, and allocate a start to it once it stands alone and serves."""
    draft = StatusDraft(o)
    if o.refusal is not None:
        draft.put(phase="Refused").say(
            conditions.ACCEPTED, "False", o.refusal.reason, o.refusal.message
        )
        draft.say(conditions.READY, "False", "Provisioning", "not accepted")
        return Decision(draft.resting(stalled=o.refusal.reason, message=o.refusal.message).build())
    draft.accepted()
    if o.spec.get("dependenciesSucceeded") is False:
        return _wait_for_dependencies(o, draft)
    if o.status.get("start", 0) >= MAX_STARTS and o.status.get("pod"):
        return _stall(o, draft)
    if not o.place.admitted:
        draft.put(phase="Queued").say(conditions.SCHEDULED, "False", "Queued", o.place.message)
        draft.say(conditions.READY, "False", "Provisioning", "waiting for its turn")
        return Decision(draft.waiting("Queued").build(), children=_unless_made(o))
    if o.status.get("step") == SUSPENDED_STEP:
        draft.put(startedAt=_resumed_start(o))
    draft.put(attempt=max(1, o.status.get("attempt", 0)), step="Waiting")
    pod = o.pod
    allocate_at = _allocation_time(o, pod)
    if pod is not None and allocate_at is not None and allocate_at <= o.now:
        return _allocate(o, draft, pod)
    _say_provisioning(o, draft)
    wake = min(filter(None, (allocate_at, o.deadline, o.now + LOOK_AGAIN)))
    return Decision(draft.build(), children="ensure", listen=pod, wake_at=wake)


def _unless_made(o: Observed) -> Literal["keep", "park"]:
    """Who waits for a turn has no pod, also when it had one."""
    return "park" if "Deployment" in o.children else "keep"


def _wait_for_dependencies(o: Observed, draft: StatusDraft) -> Decision:
    names = ", ".join(o.spec.get("dependsOn", ()))
    if o.failed_dependency:
        reason = "DependencyFailed"
        message = f"{o.failed_dependency} failed; rerun it, or take it out of dependsOn"
    else:
        reason, message = "DependencyPending", f"waiting for {names}"
    draft.put(phase="Waiting").say(conditions.SCHEDULED, "False", reason, message)
    draft.say(conditions.READY, "False", "Provisioning", message)
    return Decision(draft.waiting(reason, message).build(), children=_unless_made(o))


def _allocation_time(o: Observed, pod: PodView | None) -> datetime | None:
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
        told = o.told
        since += [told.finished_at] if told is not None and told.finished_at else []
    return max(since) + backoff(starts)


def backoff(starts: int) -> timedelta:
    """The pause after the given number of starts in a row that came to nothing."""
    return min(FIRST_BACKOFF * 2.0 ** min(starts - 1, 10), LONGEST_BACKOFF)


def _allocate(o: Observed, draft: StatusDraft, pod: PodView) -> Decision:
    """Into the status first: the agent is told when this very status is there."""
    start = o.status.get("start", 0) + 1
    draft.put(start=start, pod=pod.name, node=pod.node, phase="Provisioning").pod()
    attempt = max(1, o.status.get("attempt", 0))
    message = f"attempt {attempt}, start {start} on {pod.name}"
    draft.say(conditions.READY, "False", "Provisioning", message)
    return Decision(draft.working("Starting", message).build(), listen=pod, wake_at=o.now)


def _say_provisioning(o: Observed, draft: StatusDraft) -> None:
    draft.put(phase="Provisioning").pod()
    failure = _pod_failure(o)
    lost = _lost_text(o)
    if failure is not None:
        draft.failure(failure)
        if failure.type != conditions.READY:
            draft.say(conditions.READY, "False", "Provisioning", failure.reason)
        draft.working(failure.reason, failure.text)
        return
    message = lost or "the agent's pod is being made"
    draft.say(conditions.READY, "False", _lost_reason(o) or "Provisioning", message)
    draft.working("Provisioning", message)


def _pod_failure(o: Observed) -> PodFailure | None:
    """What keeps the newest pod from serving."""
    newest = max(o.pods_left, key=lambda pod: pod.created, default=None)
    deployment = o.children.get("Deployment")
    problem = o.problem or (deployment.problem if deployment else "")
    return classify(newest, problem, o.events)


def _lost_reason(o: Observed) -> str:
    """The class of what ended the start that status names, where its pod still shows it."""
    pod = o.told_pod
    if pod is None or not o.status.get("start"):
        return ""
    if pod.container("work").last_reason == "OOMKilled":
        return "OOMKilled"
    failure = classify(pod)
    return failure.reason if failure is not None else ""


def _lost_text(o: Observed) -> str:
    start, pod = o.status.get("start", 0), o.status.get("pod")
    if not start or not pod:
        return ""
    state = o.told
    why = f"pod {pod} is gone"
    if state is not None:
        why = state.failure.message if state.failure is not None else "its agent was stopped"
    elif o.told_pod is not None:
        failure = classify(o.told_pod)
        why = failure.text if failure is not None else f"pod {pod} is ending"
    return f"start {start} came to nothing: {why}; it starts again, at the latest in 5 min"


def _stall(o: Observed, draft: StatusDraft) -> Decision:
    why = _lost_text(o).partition("; ")[0]
    message = (
        f"{MAX_STARTS} starts in a row came to nothing. {why}. Rerun the task once it is cured"
    )
    draft.put(phase="Stalled", step=STALLED_STEP).editor()
    draft.say(conditions.READY, "False", _lost_reason(o) or "CrashLooping", message)
    stalled = draft.resting(stalled="TooManyStarts", message=message)
    return Decision(stalled.build(), children="park")


# --- the work ----------------------------------------------------------------------------------


def _is_allocated(o: Observed) -> bool:
    """Status names a start, and its pod is the one there is."""
    return bool(o.status.get("start") and o.pod is not None and o.pod.name == o.status.get("pod"))


def _tell(o: Observed) -> Decision:
    """The status names this pod's start, and its agent does not know of it yet."""
    pod, state = o.pod, o.agent_state
    assert pod is not None
    draft = StatusDraft(o).accepted()
    _say_silence(o, draft)
    if state is None or o.agent is None or o.agent.pod != pod.uid:
        return Decision(draft.build(), listen=pod, wake_at=o.now + LOOK_AGAIN)
    if state.step not in ("Waiting", "Finished", "Stopped"):
        stop = _stop(o, state, pod, "Superseded")
        return Decision(draft.build(), command=stop, listen=pod, wake_at=o.now + LOOK_AGAIN)
    return Decision(
        draft.build(), command=Start(pod), listen=pod, wake_at=o.now + timedelta(seconds=2)
    )


def _work(o: Observed, state: AgentState) -> Decision:
    """The agent knows its start: follow it, or go on from its end."""
    if not state.is_over:
        if _is_overdue(o) and state.step != "Publishing":
            return _end_work(o, "DeadlineExceeded") or _overdue(o)
        return _follow(o, state)
    if state.outcome == "Succeeded":
        return _finish(o, conditions.TASK_SUCCEEDED)
    if _result_of(state) == conditions.TASK_FAILED:
        return _attempt_failed(o, state)
    if _is_overdue(o):
        return _overdue(o)
    return _prepare(o)


def _follow(o: Observed, state: AgentState) -> Decision:
    draft = StatusDraft(o).accepted().pod().agent(state)
    attempt, retries = o.status["attempt"], o.spec.get("retries", 0)
    message = f"{state.step}: attempt {attempt} of {retries + 1}"
    failed = [context for context in state.contexts if context.reason == "Failed"]
    if failed:
        draft.say(conditions.READY, "False", "ContextFailed", failed[0].message)
    else:
        draft.say(conditions.READY, "True", "AgentServing", message)
    draft.put(phase=state.step).working(state.step, message)
    _say_silence(o, draft)
    return Decision(
        draft.build(),
        collect=missing_artifacts(o, state),
        listen=o.told_pod,
        wake_at=min(filter(None, (o.deadline, _silence_ends(o))), default=None),
    )


def _say_silence(o: Observed, draft: StatusDraft) -> None:
    """The pod is there and its agent does not answer."""
    if o.silent_for < o.unreachable_after:
        return
    failure = _pod_failure(o)
    if failure is not None:
        draft.say(conditions.READY, "False", failure.reason, failure.text)
        return
    why = o.agent.error if o.agent else ""
    message = f"the agent does not answer: {why}. Delete its pod to start it again"
    draft.say(conditions.READY, "Unknown", "Provisioning", message)


def _silence_ends(o: Observed) -> datetime | None:
    return o.now + LOOK_AGAIN if o.agent is not None and o.agent.failing_since else None


def _is_overdue(o: Observed) -> bool:
    deadline = o.deadline
    return deadline is not None and o.now >= deadline


def _attempt_failed(o: Observed, state: AgentState) -> Decision:
    retries = o.spec.get("retries", 0)
    attempt = o.status["attempt"]
    if state.failure is not None and state.failure.reason in _NOT_THE_COMMANDS:
        return _finish(o, conditions.TASK_FAILED)
    if attempt > retries:
        result = conditions.RETRIES_EXHAUSTED if retries else conditions.TASK_FAILED
        return _finish(o, result)
    if missing_artifacts(o, state):
        return _collect_first(o, state)
    draft = StatusDraft(o).agent(state)
    draft.put(attempt=attempt + 1, start=0, pod=None, startedAt=None, step="Waiting")
    return decide(o.with_status(draft.build()))


def _collect_first(o: Observed, state: AgentState) -> Decision:
    """The end is told once its artifacts are kept: what is finished is whole."""
    draft = StatusDraft(o).accepted().pod().agent(state).put(phase=state.step)
    again = o.now + timedelta(seconds=2)
    return Decision(draft.build(), collect=True, listen=o.told_pod, wake_at=again)


# --- the end -----------------------------------------------------------------------------------


def _end_work(o: Observed, reason: StopReason) -> Decision | None:
    """End what is under way and have its work handed over; None once nothing is."""
    pod, state = o.told_pod, o.told
    if not o.status.get("start") or pod is None or pod.is_dead:
        return None
    if state is not None and state.is_over:
        return None
    if pod.deleted_at is not None:
        # It was told by its node already; only its own end, or the node's, is waited for.
        gone = pod.deleted_at + LOST_AFTER
        if o.now >= gone:
            return None
        return Decision(_stopping(o, reason), children="park", listen=pod, wake_at=gone)
    if o.agent is not None and o.agent.pod == pod.uid and state is None and o.agent_state:
        return None  # allocated, and never told
    if o.silent_for >= o.unreachable_after:
        return Decision(_stopping(o, reason), children="park", wake_at=o.now + LOOK_AGAIN)
    stop = _stop(o, state, pod, reason) if state is not None else None
    again = o.now + LOOK_AGAIN
    return Decision(_stopping(o, reason), command=stop, listen=pod, wake_at=again)


def _stop(o: Observed, state: AgentState, pod: PodView, reason: StopReason) -> Stop | None:
    """Told once, and again only when it seems not to have been heard."""
    told = o.agent.stop_told if o.agent else None
    if told is not None and told[:2] == (state.triple, reason) and o.now - told[2] < STOP_AGAIN:
        return None
    return Stop(pod, reason)


def _stopping(o: Observed, reason: StopReason) -> dict[str, Any]:
    draft = StatusDraft(o).pod()
    if o.told is not None:
        draft.agent(o.told)
    message = "its work is being handed over"
    return draft.put(phase="Stopping").say(conditions.RECONCILING, "True", reason, message).build()


def _cancelled(o: Observed) -> Decision:
    """What came to its own end before it could be cancelled keeps its result."""
    result = _result_of(o.told)
    return _finish(o, result or conditions.CANCELLED)


def _overdue(o: Observed) -> Decision:
    result = _result_of(o.told)
    if result == conditions.TASK_SUCCEEDED:
        return _finish(o, result)
    return _finish(o, conditions.DEADLINE_EXCEEDED)


def _suspended(o: Observed) -> Decision:
    state = o.told
    if state is not None and _result_of(state) is not None:
        return _work(o, state)
    draft = StatusDraft(o).accepted()
    if state is not None:
        draft.agent(state)
    message = "suspended; the workspace is kept, and the clock stands still"
    draft.put(phase="Suspended", step=SUSPENDED_STEP, pod=None, node=None).editor()
    draft.say(conditions.READY, "False", "Suspended", message)
    draft.resting().say(conditions.SUSPENDED, "True", "Suspended", message)
    return Decision(draft.build(), children=_unless_made(o))


def _resumed_start(o: Observed) -> str | None:
    """The command's start, moved by as long as the suspension took: its clock stood still."""
    suspended = conditions.find(o.status.get("conditions", ()), conditions.SUSPENDED)
    started = o.status.get("startedAt")
    if not started or suspended is None or suspended.get("status") != "True":
        return started
    return rfc3339(parse_time(started) + (o.now - parse_time(suspended["lastTransitionTime"])))


_PHASES = {
    conditions.TASK_SUCCEEDED: "Succeeded",
    conditions.CANCELLED: "Cancelled",
}


def _finish(o: Observed, result: str) -> Decision:
    """The run's result, once and for all (I7)."""
    state = o.told
    if state is not None and missing_artifacts(o, state) and o.told_pod is not None:
        return _collect_first(o, state)
    draft = StatusDraft(o).accepted().pod()
    if state is not None:
        draft.agent(state).refused(state)
    ended = state.finished_at if state is not None and state.finished_at else o.now
    draft.put(finishedAt=rfc3339(ended), phase=_PHASES.get(result, "Failed"))
    message = _result_message(o, result)
    good = result == conditions.TASK_SUCCEEDED
    draft.say(conditions.SUCCEEDED, "True" if good else "False", result, message)
    draft.say(conditions.FINISHED, "True", result, message)
    draft.say(conditions.READY, "True" if good else "False", _ready_reason(o, result), message)
    draft.say(conditions.SUSPENDED, "False", "NotSuspended")
    stalled = "" if good or result == conditions.CANCELLED else result
    draft.resting(stalled=stalled, message=message)
    return Decision(draft.build(), wake_at=o.now)


def _ready_reason(o: Observed, result: str) -> str:
    if result == conditions.TASK_SUCCEEDED:
        return "TaskSucceeded"
    failure = o.told.failure if o.told is not None else None
    return "ContextFailed" if failure and failure.reason == "ContextFailed" else "TaskFailed"


def _result_message(o: Observed, result: str) -> str:
    state = o.told
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
    why = state.failure.message if state.failure is not None else f"exit code {state.exit_code}"
    if state.failure is not None and state.failure.reason in _NOT_THE_COMMANDS:
        return f"{why}; not tried again by itself: another attempt would come to the same"
    if state.exit_code == _KILLED:
        why += "; if it ran out of memory, raise agent.resources.limits.memory"
    return f"{why} (attempt {o.status['attempt']} of {o.spec.get('retries', 0) + 1})"


def _after_the_end(o: Observed) -> Decision:
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
