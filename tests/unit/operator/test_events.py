"""What `kubectl describe` tells: each decisive act once, in order, and nothing twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guildnet.agent_api.state import Failure
from guildnet_operator.decisions.events import transitions


class Teller:
    """Decides until nothing changes any more, and collects what is told meanwhile."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.reported: list[tuple[str, bool]] = []
        self.messages: list[str] = []

    def settle(self) -> None:
        for _ in range(10):
            before = dict(self.scene.status)
            self.scene.decide()
            for event in transitions(before, self.scene.status):
                self.reported.append((event.reason, event.warning))
                self.messages.append(event.message)
            if self.scene.status == before:
                return
        raise AssertionError("the status never stands still")


@pytest.fixture
def teller(scene: Any) -> Teller:
    return Teller(scene)


def bring_up(teller: Teller, name: str = "pod-1") -> None:
    teller.settle()
    teller.scene.add_pod(name)
    teller.scene.hear_nothing_started()
    teller.settle()
    teller.scene.agent_says(step="Running", started_at=teller.scene.now)
    teller.settle()


def test_a_run_is_told_from_its_beginning_to_its_end(
    teller: Teller, failed_state: dict[str, Any]
) -> None:
    bring_up(teller)
    teller.scene.agent_says(**failed_state)
    teller.settle()
    teller.scene.agent_says(step="Running", started_at=teller.scene.now)
    teller.settle()
    done = Failure("PullRequestOpened", "https://git.example/1")
    teller.scene.agent_says(step="Finished", outcome="Succeeded", published=done)
    teller.settle()
    assert [reason for reason, _ in teller.reported] == [
        "Provisioning",
        "PodScheduled",
        "Starting",
        "AgentServing",
        "TaskFailed",
        "Starting",
        "AgentServing",
        "PullRequestOpened",
        "TaskSucceeded",
    ]
    assert "exit code 3 (attempt 1 of 3); starting the next attempt" in teller.messages
    assert [reason for reason, warning in teller.reported if warning] == ["TaskFailed"]


def test_an_operator_that_has_just_started_tells_nothing_again(teller: Teller) -> None:
    bring_up(teller)
    told = list(teller.reported)
    teller.scene.agent = None
    teller.settle()
    teller.scene.agent_says(step="Running", started_at=teller.scene.now)
    teller.settle()
    assert teller.reported == told


def test_a_run_whose_place_another_takes_is_told(teller: Teller) -> None:
    bring_up(teller)
    teller.scene.spec |= {"run": 2, "onChange": "Restart"}
    teller.settle()
    teller.scene.agent_says(step="Stopped", outcome="Stopped", branch="guildnet/acme/fix-login")
    teller.scene.template = "sha256:t2"
    teller.settle()
    assert teller.reported[-2:] == [("Superseded", False), ("Provisioning", False)]
    assert (
        "run 1 ended as Cancelled; run 2 follows; its work is on guildnet/acme/fix-login"
        in teller.messages
    )


def test_silence_is_told_and_its_end(teller: Teller) -> None:
    """I10"""
    bring_up(teller)
    scene = teller.scene
    scene.agent = replace(scene.agent, failing_since=scene.now, error="connection refused")
    scene.now += timedelta(seconds=31)
    teller.settle()
    assert teller.reported[-1] == ("Provisioning", True)
    assert "connection refused" in teller.messages[-1]
    scene.agent = replace(scene.agent, failing_since=None, error="")
    teller.settle()
    assert teller.reported[-1] == ("AgentServing", False)
