"""An attempt ends at its deadline in every situation, and no task waits forever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guildnet.agent_api.state import AgentState
from guildnet_operator.agents.view import AgentView
from guildnet_operator.decisions.actions import Stop
from guildnet_operator.references import Refusal


def test_late_publishing_causes_no_busy_loop(scene: Any) -> None:
    """A wake-up time in the past would cause endless reconciliations."""
    scene.started()
    scene.agent_says(step="Publishing", started_at=scene.now)
    scene.pass_time(hours=3)
    decision = scene.settle()
    assert decision.wake_at is None or decision.wake_at > scene.now


def test_an_old_run_may_finish_within_its_timeout(scene: Any) -> None:
    scene.started()
    scene.spec |= {"run": 2, "onChange": "Ignore"}
    assert scene.settle().wake_at == scene.now + timedelta(hours=2)
    scene.pass_time(hours=2)
    assert scene.settle().command == Stop(scene.pods[0], "DeadlineExceeded")
    scene.agent_says(step="Stopped", outcome="Stopped", branch="guildnet/acme/fix-login")
    scene.settle()
    assert scene.status["run"] == 2
    assert scene.status["history"][0]["result"] == "DeadlineExceeded"


def test_a_restarted_operator_lets_an_old_run_finish(
    scene: Any,
) -> None:
    """I4: status reports no stop that does not happen."""
    scene.started()
    scene.spec |= {"run": 2, "onChange": "Ignore"}
    scene.settle()
    before = scene.status
    scene.agent = None
    decision = scene.settle()
    assert scene.status == before
    assert (decision.poll, decision.command) == (scene.pods[0], None)


def test_an_old_run_that_never_started_does_not_block_the_next(
    scene: Any,
) -> None:
    scene.started(step="Preparing", started_at=None)
    scene.spec |= {"run": 2, "onChange": "Ignore"}
    scene.agent = AgentView("uid-pod-1", failing_since=scene.now, error="refused")
    scene.pass_time(seconds=31)
    assert scene.settle().children == "park"
    scene.pods.clear()
    scene.settle()
    assert scene.status["run"] == 2


@pytest.mark.parametrize("why", ["cancel", "suspend"])
def test_an_agent_that_never_answers_a_new_operator_can_be_stopped(scene: Any, why: str) -> None:
    """The agent is polled although its supervisor is not ready, so missing answers count."""
    scene.started()
    supervisor, work = scene.pods[0].containers
    scene.pods[0] = replace(
        scene.pods[0], containers=(replace(supervisor, ready=False, running=False), work)
    )
    scene.agent = None
    scene.spec[why] = True
    assert scene.settle().poll == scene.pods[0]
    scene.agent = AgentView("uid-pod-1", failing_since=scene.now, error="refused")
    scene.pass_time(seconds=31)
    assert scene.settle().children == "park"


def test_an_unreachable_pod_counts_although_an_earlier_one_reported(scene: Any) -> None:
    """A cancelled task does not wait for an agent that cannot be reached."""
    scene.started()
    scene.status["pod"], scene.status["start"] = "pod-2", 2
    scene.pods.clear()
    scene.add_pod("pod-2")
    spoke = AgentState(run=1, attempt=1, start=1, step="Running")
    scene.agent = AgentView(
        "uid-pod-1", spoke, failing_since=scene.now, failing_pod="uid-pod-2", error="refused"
    )
    scene.spec["cancel"] = True
    scene.pass_time(seconds=31)
    assert scene.settle().children == "park"


def test_a_nodes_fast_clock_does_not_lengthen_the_timeout(scene: Any) -> None:
    ahead = scene.now + timedelta(hours=9)
    scene.started(started_at=ahead)
    assert scene.observed().deadline == scene.now + timedelta(hours=2)
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=ahead)
    scene.settle()
    assert scene.settle().wake_at == scene.now + timedelta(hours=1), "the editor's hour"


def test_a_task_never_accepted_stays_unaccepted_at_its_end(scene: Any) -> None:
    scene.refusal = Refusal("SecretNotFound", "there is no Secret forge")
    scene.settle()
    scene.spec["cancel"] = True
    scene.settle()
    assert scene.condition("Accepted") == ("False", "SecretNotFound")
    assert scene.condition("Finished") == ("True", "Cancelled")
