"""Each class of failure has a reason, its cause and a cure (I10)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from guildnet_operator.failures import EventView, classify
from guildnet_operator.projections import ContainerView, PodView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(**changes: Any) -> PodView:
    return PodView("p", "u", "t", NOW, node="node-1", **changes)


def work(**changes: Any) -> dict[str, Any]:
    return {"containers": (ContainerView("work", **changes),)}


@pytest.mark.parametrize(
    ("given", "kind", "reason", "word"),
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
def test_a_pods_failure_is_named(given: PodView, kind: str, reason: str, word: str) -> None:
    found = classify(given)
    assert found is not None
    assert (found.type, found.reason) == (kind, reason)
    assert word in found.text
    assert found.cure


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("exceeded quota: compute, requested: pods=1", "QuotaExceeded"),
        ("failed quota: must specify limits.cpu", "QuotaExceeded"),
        ("violates PodSecurity", "Unschedulable"),
    ],
)
def test_what_cannot_be_made_is_named(problem: str, reason: str) -> None:
    found = classify(None, problem)
    assert found is not None
    assert (found.type, found.reason) == ("Scheduled", reason)
    assert problem in found.text


def test_a_volume_that_cannot_be_mounted_is_named_from_the_nodes_words() -> None:
    found = classify(pod(scheduled=True), events=[EventView("FailedMount", "timed out")])
    assert found is not None
    assert found.reason == "VolumePending"


def test_a_pod_in_the_making_is_no_failure() -> None:
    assert classify(None) is None
    assert classify(pod(**work(waiting="ContainerCreating"))) is None
    assert classify(pod(**work(running=True, ready=True))) is None
