"""Why an agent does not work: what its pod shows, and whether its API answers. Pure."""

from __future__ import annotations

from datetime import timedelta

from guildnet import conditions
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.decisions.pod_failures import PodFailure, classify
from guildnet_operator.decisions.status import StatusDraft
from guildnet_operator.views import PodView

#: A claim is bound a moment after its creation, so an unbound one is not reported at once.
_BINDING_GRACE = timedelta(seconds=5)


def pod_failure(o: Observed) -> PodFailure | None:
    """What keeps the pod that status names, or otherwise the newest one, from serving."""
    assigned = o.assigned_pod
    failure = classify(assigned) if assigned is not None and not assigned.is_dead else None
    if failure is not None:
        return failure
    newest = max(o.pods_left, key=lambda pod: pod.created, default=None)
    deployment = o.children.get("Deployment")
    blocking = o.blocking_error or (deployment.replica_failure if deployment else "")
    failure = classify(newest, blocking, o.events)
    return None if newest is not None and _is_binding(o, newest, failure) else failure


def _is_binding(o: Observed, pod: PodView, failure: PodFailure | None) -> bool:
    since = pod.unschedulable_since
    if failure is None or failure.reason != "VolumePending" or not pod.unschedulable or not since:
        return False
    return o.now - since < _BINDING_GRACE


def loss_reason(o: Observed) -> str:
    """The reason why the start that status names was lost; empty if its pod does not show it."""
    pod = o.assigned_pod
    if pod is None or not o.status.get("start"):
        return ""
    if pod.container("work").last_reason == "OOMKilled":
        return "OOMKilled"
    failure = classify(pod)
    return failure.reason if failure is not None else ""


def loss_message(o: Observed) -> str:
    """Why the start that status names was lost; empty if status names none."""
    start, pod = o.status.get("start", 0), o.status.get("pod")
    if not start or not pod:
        return ""
    state, prefix = o.reported, f"start {start} failed: "
    if state is None and o.assigned_pod is None:
        before = conditions.find(o.status.get("conditions", ()), conditions.READY)
        if before is not None and before.get("message", "").startswith(prefix):
            return str(before["message"])  # written while the pod was there to show the cause
    why = f"pod {pod} is gone"
    if state is not None:
        why = state.failure.message if state.failure is not None else "its agent was stopped"
    elif o.assigned_pod is not None:
        failure = classify(o.assigned_pod)
        why = failure.text if failure is not None else f"pod {pod} is being deleted"
    return f"{prefix}{why}; the next start follows within 5 min"


def report_unreachable(o: Observed, draft: StatusDraft) -> None:
    """Set Ready if the agent's API has not answered for `unreachable_after`."""
    if o.unreachable_for < o.unreachable_after:
        return
    failure = pod_failure(o)
    if failure is not None:
        draft.condition(conditions.READY, "False", failure.reason, failure.text)
        return
    why = o.agent.error if o.agent else ""
    message = f"the agent does not answer: {why}. Delete its pod to start it again"
    draft.condition(conditions.READY, "Unknown", "Provisioning", message)
