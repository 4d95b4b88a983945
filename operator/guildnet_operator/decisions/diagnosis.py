"""What stands in an agent's way, found in its pod, and in its silence. Pure."""

from __future__ import annotations

from datetime import timedelta

from guildnet import conditions
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.decisions.pod_failures import PodFailure, classify
from guildnet_operator.decisions.status import StatusDraft
from guildnet_operator.views import PodView

_BINDING_GRACE = timedelta(seconds=5)


def pod_failure(o: Observed) -> PodFailure | None:
    """What keeps the pod that status names from serving, or else the newest one."""
    told = o.assigned_pod
    failure = classify(told) if told is not None and not told.is_dead else None
    if failure is not None:
        return failure
    newest = max(o.pods_left, key=lambda pod: pod.created, default=None)
    deployment = o.children.get("Deployment")
    problem = o.problem or (deployment.problem if deployment else "")
    failure = classify(newest, problem, o.events)
    return None if newest is not None and _is_passing(o, newest, failure) else failure


def _is_passing(o: Observed, pod: PodView, failure: PodFailure | None) -> bool:
    """A claim is bound a moment after it was made: a word on that would be of no use."""
    since = pod.unschedulable_since
    if failure is None or failure.reason != "VolumePending" or not pod.unschedulable or not since:
        return False
    return o.now - since < _BINDING_GRACE


def loss_reason(o: Observed) -> str:
    """The class of what ended the start that status names, where its pod still shows it."""
    pod = o.assigned_pod
    if pod is None or not o.status.get("start"):
        return ""
    if pod.container("work").last_reason == "OOMKilled":
        return "OOMKilled"
    failure = classify(pod)
    return failure.reason if failure is not None else ""


def loss_message(o: Observed) -> str:
    start, pod = o.status.get("start", 0), o.status.get("pod")
    if not start or not pod:
        return ""
    state, told = o.reported, f"start {start} came to nothing: "
    if state is None and o.assigned_pod is None:
        before = conditions.find(o.status.get("conditions", ()), conditions.READY)
        if before is not None and before.get("message", "").startswith(told):
            return str(before["message"])  # what was known while there was somebody to know it of
    why = f"pod {pod} is gone"
    if state is not None:
        why = state.failure.message if state.failure is not None else "its agent was stopped"
    elif o.assigned_pod is not None:
        failure = classify(o.assigned_pod)
        why = failure.text if failure is not None else f"pod {pod} is ending"
    return f"{told}{why}; it starts again, at the latest in 5 min"


def report_unreachable(o: Observed, draft: StatusDraft) -> None:
    """The pod is there and its agent does not answer."""
    if o.unreachable_for < o.unreachable_after:
        return
    failure = pod_failure(o)
    if failure is not None:
        draft.condition(conditions.READY, "False", failure.reason, failure.text)
        return
    why = o.agent.error if o.agent else ""
    message = f"the agent does not answer: {why}. Delete its pod to start it again"
    draft.condition(conditions.READY, "Unknown", "Provisioning", message)
