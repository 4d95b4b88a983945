"""A task whose agent never becomes ready does not hold its slot forever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from guildnet.agent_api.state import AgentState
from guildnet_operator.agents.view import AgentView
from guildnet_operator.decisions.actions import Start
from guildnet_operator.decisions.admission import is_cooling_down
from guildnet_operator.decisions.slots import Admission
from guildnet_operator.observe import is_active
from guildnet_operator.references import Refusal
from guildnet_operator.views import ChildView, ContainerView

WANTED = Admission(True, max_active=1, waiting=3)
PULL = ContainerView("work", waiting="ImagePullBackOff", message="no such image: w:2")


@pytest.fixture
def stuck(scene: Any) -> Any:
    """A task whose image cannot be pulled, and which has held its slot for ten minutes."""
    scene.admission = WANTED
    scene.settle()
    scene.add_pod(containers=(ContainerView("supervisor", running=True, ready=True), PULL))
    scene.children["Deployment"] = ChildView("Deployment", "x", "u", "o", "t", replicas=1)
    scene.settle()
    scene.pass_time(minutes=10)
    return scene


def test_a_slot_goes_to_a_waiting_task_and_the_cause_stays_visible(stuck: Any) -> None:
    """I10"""
    assert stuck.decide().children == "park"
    stuck.pods.clear()
    decision = stuck.settle()
    assert stuck.condition("Scheduled") == ("False", "Queued")
    assert "not ready within 10 min" in stuck.message("Scheduled")
    assert stuck.condition("Ready") == ("False", "ImagePullFailed")
    assert "no such image: w:2" in stuck.message("Ready")
    assert stuck.status["attempt"] == 1
    assert decision.wake_at == stuck.now + timedelta(minutes=5)
    assert is_cooling_down(stuck.status, stuck.now)


def test_a_slot_is_kept_while_no_task_waits(stuck: Any) -> None:
    stuck.admission = Admission(True, max_active=1)
    stuck.pass_time(hours=5)
    assert stuck.settle().children == "ensure"
    assert stuck.condition("Ready") == ("False", "ImagePullFailed")


def test_after_the_cooldown_it_queues_again_and_can_start(stuck: Any) -> None:
    stuck.settle()
    stuck.pods.clear()
    stuck.pass_time(minutes=4, seconds=59)
    assert stuck.settle().children != "ensure", "other tasks go first meanwhile"
    stuck.pass_time(seconds=1)
    stuck.admission = Admission(False, 2, 1, 2)
    stuck.settle()
    assert stuck.message("Scheduled") == "2nd of 2 in the queue; limits.maxActive is 1"
    assert stuck.condition("Ready") == ("False", "ImagePullFailed")
    stuck.admission = WANTED
    assert stuck.settle().children == "ensure"
    stuck.add_pod("pod-2")
    stuck.agent_waits()
    assert stuck.settle().command == Start(stuck.pods[0])
    assert [stuck.status[k] for k in ("attempt", "start", "pod")] == [1, 1, "pod-2"]
    assert "yieldedAt" not in stuck.status


def test_each_admission_has_its_own_provision_timeout(stuck: Any) -> None:
    stuck.settle()
    stuck.pods.clear()
    stuck.pass_time(minutes=5)
    stuck.settle()
    stuck.pass_time(minutes=9)
    assert stuck.settle().children == "ensure"
    stuck.pass_time(minutes=1)
    assert stuck.decide().children == "park"


def test_a_running_command_keeps_its_slot(scene: Any) -> None:
    scene.admission = WANTED
    scene.started()
    scene.pass_time(minutes=60)
    assert scene.settle().children == "keep"
    scene.pods.clear()
    assert scene.settle().children == "ensure", "a lost pod comes back: its clock runs"
    scene.pass_time(minutes=30)
    assert scene.settle().children == "ensure"


def test_long_preparations_do_not_count_once_the_pod_is_lost(scene: Any) -> None:
    scene.admission = WANTED
    scene.started(step="Preparing", started_at=None)
    scene.pass_time(minutes=30)
    scene.pods.clear()
    assert scene.settle().children == "ensure"
    scene.pass_time(minutes=10)
    assert scene.decide().children == "park"


def test_an_agent_that_never_reports_releases_its_slot(scene: Any) -> None:
    """I10: even if the last state of an earlier pod is known."""
    scene.admission = WANTED
    scene.started(step="Preparing", started_at=None)
    old = scene.pods.pop()
    scene.settle()
    scene.add_pod("pod-2")
    scene.pass_time(seconds=11)
    scene.settle()
    assert scene.status["pod"] == "pod-2"
    scene.agent = AgentView(
        old.uid,
        AgentState(run=1, attempt=1, start=1, step="Preparing"),
        failing_since=scene.now,
        failing_pod="uid-pod-2",
        error="connection refused",
    )
    scene.pass_time(seconds=31)
    scene.settle()
    assert "connection refused" in scene.message("Ready")
    scene.pass_time(minutes=10)
    assert scene.decide().children == "park"
    assert "connection refused" in scene.message("Scheduled")


def test_no_start_is_sent_to_a_pod_being_deleted(stuck: Any) -> None:
    """I7: it would run in addition to the task that got its slot."""
    stuck.settle()
    stuck.status["start"], stuck.status["pod"] = 1, "pod-1"
    stuck.agent_waits()
    decision = stuck.settle()
    assert decision.command is None
    assert stuck.condition("Scheduled") == ("False", "Queued")


def test_a_refused_task_releases_its_slot(scene: Any) -> None:
    scene.started(step="Preparing", started_at=None)
    scene.pods.clear()
    scene.children["Deployment"] = ChildView("Deployment", "x", "u", "o", "t", replicas=1)
    scene.refusal = Refusal("SecretNotFound", "there is no Secret forge")
    assert scene.settle().children == "park"
    assert scene.status["step"] == "Queued"
    scene.refusal = None
    scene.admission = Admission(False, 1, 1, 1)
    scene.settle()
    assert scene.condition("Scheduled") == ("False", "Queued")
    assert scene.condition("Ready") == ("False", "Provisioning")
    assert scene.message("Ready") == "waiting for a slot"


def test_a_new_dependency_releases_the_slot(scene: Any) -> None:
    scene.settle()
    scene.add_pod()
    scene.children["Deployment"] = ChildView("Deployment", "x", "u", "o", "t", replicas=1)
    scene.spec |= {"dependsOn": ["other"], "dependenciesSucceeded": False}
    assert scene.settle().children == "park"
    assert scene.status["step"] == "Queued"
    assert not is_active(scene.observed().task)
    scene.pods.clear()
    scene.spec["dependenciesSucceeded"] = True
    assert scene.settle().children == "ensure"
    assert is_active(scene.observed().task)


def test_a_stalled_task_ends_at_its_deadline(scene: Any) -> None:
    """A stalled task ends at its deadline, without any other change."""
    scene.started()
    scene.status["lostStarts"] = 9
    scene.pods.clear()
    decision = scene.settle()
    assert decision.wake_at == scene.now + timedelta(hours=2)
    scene.pass_time(hours=2)
    scene.settle()
    assert scene.condition("Succeeded") == ("False", "DeadlineExceeded")
