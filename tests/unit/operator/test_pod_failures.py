"""Each class of failure has a reason, a cause and a cure (I10)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from guildnet import labels
from guildnet_operator.decisions.pod_failures import classify
from guildnet_operator.views import ContainerView, EventView, PodView, event_view, pod_view

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(**changes: Any) -> PodView:
    return PodView("p", "u", "t", NOW, node="node-1", **changes)


def work(**changes: Any) -> dict[str, Any]:
    return {"containers": (ContainerView("work", **changes),)}


@pytest.mark.parametrize(
    ("given", "kind", "reason", "text"),
    [
        (pod(unschedulable="0/1 nodes: insufficient cpu"), "Scheduled", "Unschedulable", "cpu"),
        (
            pod(unschedulable="pod has unbound immediate PersistentVolumeClaims"),
            "Scheduled",
            "VolumePending",
            "storageClass",
        ),
        (
            pod(**work(waiting="ImagePullBackOff", message="no such image x")),
            "Ready",
            "ImagePullFailed",
            "no such image x",
        ),
        (pod(**work(waiting="ErrImageNeverPull")), "Ready", "ImagePullFailed", "image's name"),
        (
            pod(**work(waiting="CrashLoopBackOff", last_exit=1, last_reason="Error")),
            "Ready",
            "CrashLooping",
            "exit code 1",
        ),
        (
            pod(**work(waiting="CrashLoopBackOff", last_exit=137, last_reason="OOMKilled")),
            "Ready",
            "OOMKilled",
            "limits.memory",
        ),
        (pod(**work(waiting="RunContainerError", message="exec")), "Ready", "CrashLooping", "exec"),
        (
            pod(**work(waiting="CreateContainerConfigError", message='secret "x" not found')),
            "Ready",
            "Provisioning",
            "guildnet secret set",
        ),
        (pod(phase="Failed", reason="Evicted", message="low on memory"), "Ready", "Evicted", "low"),
        (pod(disrupted="taint manager"), "Ready", "Evicted", "taint manager"),
        (pod(node_lost=True), "Ready", "NodeLost", "node-1"),
        (pod(phase="Failed", reason="NodeShutdown"), "Ready", "CrashLooping", "NodeShutdown"),
    ],
)
def test_a_pods_failure_is_named(given: PodView, kind: str, reason: str, text: str) -> None:
    found = classify(given)
    assert found is not None
    assert (found.type, found.reason) == (kind, reason)
    assert text in found.text
    assert found.cure


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("exceeded quota: compute, requested: pods=1", "QuotaExceeded"),
        ("failed quota: must specify limits.cpu", "QuotaExceeded"),
        ("violates PodSecurity", "Unschedulable"),
    ],
)
def test_an_object_that_cannot_be_created_is_named(problem: str, reason: str) -> None:
    found = classify(None, problem)
    assert found is not None
    assert (found.type, found.reason) == ("Scheduled", reason)
    assert problem in found.text


def test_a_failed_mount_is_named_from_the_nodes_event() -> None:
    found = classify(pod(scheduled=True), events=[EventView("FailedMount", "timed out")])
    assert found is not None
    assert found.reason == "VolumePending"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('MountVolume.SetUp failed for volume "pvc-0f1e" : no such device', "VolumePending"),
        ("Unable to attach or mount volumes: unmounted volumes=[workspace agent]", "VolumePending"),
        ('Multi-Attach error for volume "pvc-0f1e" Volume is in use', "VolumePending"),
        ('MountVolume.SetUp failed for volume "git-0" : secret "forge" not found', "Provisioning"),
        ('MountVolume.SetUp failed for volume "agent" : failed to sync cache', "Provisioning"),
        ("Unable to attach or mount volumes: unmounted volumes=[configmap-0]", "Provisioning"),
    ],
)
def test_only_the_workspace_is_a_volume_that_is_pending(message: str, reason: str) -> None:
    """A Secret that a node cannot mount yet is not a problem of the claim."""
    found = classify(pod(scheduled=True), events=[EventView("FailedMount", message)])
    assert found is not None
    assert found.reason == reason
    assert message in found.text


def _conditions(**given: tuple[str, str]) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "p", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {labels.MANAGED_BY: labels.OPERATOR, labels.TASK: "t"},
        },
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": status, **({"reason": reason} if reason else {})}
                for kind, (status, reason) in given.items()
            ],
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ready", "containers", "is_lost"),
    [
        (("True", ""), ("True", ""), False),
        (("False", "ContainersNotReady"), ("False", "ContainersNotReady"), False),
        (("False", "ReadinessGatesNotReady"), ("True", ""), False),
        (("False", ""), ("True", ""), True),
    ],
)
def test_a_pod_set_unready_by_the_control_plane_is_on_a_lost_node(
    ready: tuple[str, str], containers: tuple[str, str], is_lost: bool
) -> None:
    """The control plane changes the condition, and leaves the rest as the node last reported it."""
    view = pod_view(_conditions(Ready=ready, ContainersReady=containers))
    assert view is not None
    assert view.node_lost is is_lost


def test_a_starting_pod_is_not_a_failure() -> None:
    assert classify(None) is None
    assert classify(pod(**work(waiting="ContainerCreating"))) is None
    assert classify(pod(**work(running=True, ready=True))) is None


@pytest.mark.parametrize(
    ("problem", "cure"),
    [
        (
            'Deployment.apps "x" is invalid: spec.template.spec.containers[0].resources.requests: '
            'Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi',
            "Raise agent.resources.limits or lower agent.resources.requests",
        ),
        (
            'Invalid value: "1": must be less than or equal to cpu limit of 500m',
            "LimitRange",
        ),
        (
            'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 4Gi',
            "Set agent.resources.requests and agent.resources.limits within it",
        ),
        (
            'pods "x" is forbidden: minimum cpu usage per Pod is 1, but request is 120m',
            "kubectl describe limitrange",
        ),
        (
            'pods "x" is forbidden: memory max limit to request ratio per Container is 2, '
            "but provided ratio is 32.000000",
            "kubectl describe limitrange",
        ),
        (
            'persistentvolumeclaims "x" is forbidden: minimum storage usage per '
            "PersistentVolumeClaim is 10Gi, but request is 5Gi",
            "Set agent.workspace.size within it",
        ),
    ],
)
def test_refused_resources_name_the_field_to_change(problem: str, cure: str) -> None:
    found = classify(None, problem)
    assert found is not None
    assert (found.type, found.reason) == ("Scheduled", "Unschedulable")
    assert problem in found.text
    assert cure in found.cure
    assert "doctor" not in found.cure


def test_texts_of_the_cluster_are_cleaned() -> None:
    body = {
        "metadata": {
            "name": "p",
            "uid": "u",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {labels.MANAGED_BY: labels.OPERATOR, labels.TASK: "t"},
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Failed",
            "reason": "Evicted\ud800",
            "message": "x" * 1_000_000 + "\x00",
            "containerStatuses": [
                {
                    "name": "work",
                    "state": {"waiting": {"reason": "ErrImagePull", "message": "\ud800\x1b[2J"}},
                }
            ],
        },
    }
    found = pod_view(body)
    assert found is not None
    assert len(found.message) <= 1024
    assert found.reason == "Evicted\ufffd"
    assert found.container("work").message == "\ufffd\ufffd[2J"


@pytest.mark.parametrize(
    "event", [{}, {"reason": None, "message": 5}, {"message": "\ud800" * 9999}]
)
def test_any_event_is_read(event: dict[str, Any]) -> None:
    found = event_view(event)
    assert len(found.message) <= 1024
    found.message.encode()
