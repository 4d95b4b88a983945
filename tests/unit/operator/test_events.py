"""The Events that `kubectl describe` shows: each decisive change, once, in order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guildnet.agent_api.state import Failure
from guildnet_operator.decisions.events import transitions


class Recorder:
    """Decides until nothing changes any more, and collects the Events meanwhile."""

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
        raise AssertionError("the status keeps changing")


@pytest.fixture
def recorder(scene: Any) -> Recorder:
    return Recorder(scene)


def run_to_running(recorder: Recorder, name: str = "pod-1") -> None:
    recorder.settle()
    recorder.scene.add_pod(name)
    recorder.scene.agent_waits()
    recorder.settle()
    recorder.scene.agent_says(step="Running", started_at=recorder.scene.now)
    recorder.settle()


def test_the_events_of_a_run_in_their_order(
    recorder: Recorder, failed_state: dict[str, Any]
) -> None:
    run_to_running(recorder)
    recorder.scene.agent_says(**failed_state)
    recorder.settle()
    recorder.scene.agent_says(step="Running", started_at=recorder.scene.now)
    recorder.settle()
    done = Failure("PullRequestOpened", "https://git.example/1")
    recorder.scene.agent_says(step="Finished", outcome="Succeeded", published=done)
    recorder.settle()
    assert [reason for reason, _ in recorder.reported] == [
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
    assert "exit code 3 (attempt 1 of 3); starting the next attempt" in recorder.messages
    assert [reason for reason, warning in recorder.reported if warning] == ["TaskFailed"]


def test_a_restarted_operator_repeats_no_event(recorder: Recorder) -> None:
    run_to_running(recorder)
    events = list(recorder.reported)
    recorder.scene.agent = None
    recorder.settle()
    recorder.scene.agent_says(step="Running", started_at=recorder.scene.now)
    recorder.settle()
    assert recorder.reported == events


def test_a_superseded_run_has_an_event(recorder: Recorder) -> None:
    run_to_running(recorder)
    recorder.scene.spec |= {"run": 2, "onChange": "Restart"}
    recorder.settle()
    recorder.scene.agent_says(step="Stopped", outcome="Stopped", branch="guildnet/acme/fix-login")
    recorder.scene.template = "sha256:t2"
    recorder.settle()
    assert recorder.reported[-2:] == [("Superseded", False), ("Provisioning", False)]
    assert (
        "run 1 ended as Cancelled; run 2 follows; its work is on guildnet/acme/fix-login"
        in recorder.messages
    )


def test_an_unreachable_agent_and_its_return_have_events(recorder: Recorder) -> None:
    """I10"""
    run_to_running(recorder)
    scene = recorder.scene
    scene.agent = replace(scene.agent, failing_since=scene.now, error="connection refused")
    scene.now += timedelta(seconds=31)
    recorder.settle()
    assert recorder.reported[-1] == ("Provisioning", True)
    assert "connection refused" in recorder.messages[-1]
    scene.agent = replace(scene.agent, failing_since=None, error="")
    recorder.settle()
    assert recorder.reported[-1] == ("AgentServing", False)
