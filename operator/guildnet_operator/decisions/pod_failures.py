"""Why an agent's pod does not serve: reason, message, and what to do. Pure.

Failures of the command itself are reported by the agent: see `follow` and `finish`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from guildnet_operator.manifests.mesh import MESH
from guildnet_operator.manifests.work import WORKSPACE
from guildnet_operator.views import ContainerView, EventView, PodView

ConditionType = Literal["Scheduled", "Ready"]
_SCHEDULED: ConditionType = "Scheduled"
_READY: ConditionType = "Ready"

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
    }
)
_CREATE_REASONS = frozenset({"CreateContainerError", "RunContainerError", "StartError"})
_VOLUME_EVENTS = frozenset(
    {"FailedMount", "FailedAttachVolume", "ProvisioningFailed", "FailedBinding"}
)
# Messages of the API server's validation, and of its admission by LimitRanges.
_ABOVE_LIMITS = re.compile(r"must be less than or equal to [-a-z0-9./]+ limit")
_LIMIT_RANGE = re.compile(
    r"(minimum|maximum) [-a-z0-9./]+ usage per (container|pod|persistentvolumeclaim) is"
    r"|[-a-z0-9./]+ max limit to request ratio per (container|pod) is"
)
_UNMOUNTED = re.compile(r"unmounted volumes=\[([^]]*)]")
_FOR_VOLUME = re.compile(r'for volume "([^"]+)"')
_OWN_VOLUMES = re.compile(r"agent|(git|configmap|exchange|supervisor|work|mesh)-[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class PodFailure:
    """What keeps a pod from serving: the condition to set, its reason and message, and the cure."""

    type: ConditionType
    reason: str
    message: str
    cure: str

    @property
    def text(self) -> str:
        return f"{self.message.rstrip('. ')}. {self.cure}"


def classify(
    pod: PodView | None, creation_problem: str = "", events: Sequence[EventView] = ()
) -> PodFailure | None:
    """Why this pod does not serve; None if nothing indicates that it will not.

    `creation_problem`: the API server's message on a pod or other child that it did not create.
    """
    if pod is None:
        return _not_created(creation_problem) if creation_problem else None
    return (
        _ended(pod)
        or _not_scheduled(pod)
        or next(filter(None, (_container(c) for c in pod.containers if c.name != MESH)), None)
        or _from_events(events)
    )


def _not_created(problem: str) -> PodFailure:
    lower = problem.lower()
    if "exceeded quota" in lower or "must specify limits" in lower:
        return PodFailure(
            _SCHEDULED,
            "QuotaExceeded",
            problem,
            "Raise the namespace's ResourceQuota, lower agent.resources, or wait",
        )
    if _ABOVE_LIMITS.search(lower):
        return PodFailure(
            _SCHEDULED,
            "Unschedulable",
            f"agent.resources requests more than its limit: {problem}",
            "Raise agent.resources.limits or lower agent.resources.requests, in the task or in the "
            "org's file; a limit that neither sets is from the namespace's LimitRange",
        )
    if _LIMIT_RANGE.search(lower):
        field = "agent.resources.requests and agent.resources.limits"
        if "per persistentvolumeclaim" in lower:
            field = "agent.workspace.size"
        return PodFailure(
            _SCHEDULED,
            "Unschedulable",
            f"the namespace's LimitRange refuses the object: {problem}",
            f"Set {field} within its bounds (kubectl describe limitrange), in the task or in the "
            "org's file, or change the LimitRange",
        )
    return PodFailure(
        _SCHEDULED,
        "Unschedulable",
        f"the API server refuses an object of the agent: {problem}",
        "Run `guildnet doctor ORG`",
    )


def _ended(pod: PodView) -> PodFailure | None:
    if pod.node_lost:
        return PodFailure(
            _READY,
            "NodeLost",
            f"node {pod.node} does not answer",
            "Restart it, or delete the Node; if it is surely off, kubectl delete pod --force",
        )
    if pod.reason == "Evicted" or pod.disrupted:
        return PodFailure(
            _READY,
            "Evicted",
            f"pod {pod.name} was evicted from {pod.node}: {pod.message or pod.disrupted}",
            "It is restarted; set agent.resources.requests if the node ran short of them",
        )
    if pod.is_dead and pod.deleted_at is None:
        return PodFailure(
            _READY,
            "CrashLooping",
            f"pod {pod.name} ended: {pod.reason or pod.phase} {pod.message}".rstrip(),
            "It is restarted",
        )
    return None


def _not_scheduled(pod: PodView) -> PodFailure | None:
    if not pod.unschedulable:
        return None
    if "persistentvolumeclaim" in pod.unschedulable.lower():
        return _volume_pending(pod.unschedulable)
    return PodFailure(
        _SCHEDULED,
        "Unschedulable",
        pod.unschedulable,
        "Check agent.resources, agent.nodeSelector and the cluster's nodes",
    )


def _volume_pending(message: str) -> PodFailure:
    return PodFailure(
        _SCHEDULED,
        "VolumePending",
        message,
        "Check the claim (kubectl describe pvc), agent.workspace.storageClass and the default "
        "StorageClass",
    )


def _container(container: ContainerView) -> PodFailure | None:
    where = f"container {container.name}"
    if container.waiting in IMAGE_REASONS:
        return PodFailure(
            _READY,
            "ImagePullFailed",
            f"{where}: {container.message or container.waiting}",
            "Check the image's name and that the nodes can pull it",
        )
    if container.waiting == "CreateContainerConfigError":
        return PodFailure(
            _READY,
            "Provisioning",
            f"{where} cannot be created: {container.message}",
            "Create the Secret that it names with `guildnet secret set`",
        )
    if container.waiting not in _CREATE_REASONS and container.waiting != "CrashLoopBackOff":
        return None
    if container.last_reason == "OOMKilled":
        return PodFailure(
            _READY,
            "OOMKilled",
            f"{where} ran out of memory",
            "Raise agent.resources.limits.memory",
        )
    why = container.message or f"exit code {container.last_exit}"
    return PodFailure(
        _READY,
        "CrashLooping",
        f"{where} keeps crashing: {why}",
        "The image must be built from the work image and run as any user; see "
        f"kubectl logs -c {container.name} --previous",
    )


def _is_about_the_workspace(message: str) -> bool:
    """Whether a node's message on a volume is about the claim, and not about a Secret, ConfigMap
    or empty volume."""
    unmounted = _UNMOUNTED.search(message)
    if unmounted is not None:
        return WORKSPACE in unmounted[1]
    named = _FOR_VOLUME.search(message)
    return named is None or not _OWN_VOLUMES.fullmatch(named[1])


def _from_events(events: Iterable[EventView]) -> PodFailure | None:
    for event in events:
        if event.reason in _VOLUME_EVENTS and _is_about_the_workspace(event.message):
            return _volume_pending(event.message)
        if event.reason in _VOLUME_EVENTS:
            return PodFailure(
                _READY,
                "Provisioning",
                event.message,
                "Create the Secret or ConfigMap that it names; the mount is retried",
            )
        if event.reason == "FailedCreatePodSandBox":
            return PodFailure(
                _READY,
                "Provisioning",
                event.message,
                "Check the node's container runtime and network",
            )
    return None
