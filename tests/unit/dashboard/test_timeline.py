"""What one status commit changed in a record, in words."""

from __future__ import annotations

from typing import Any

from guildnet_dashboard.stages import stages
from guildnet_dashboard.states import State
from guildnet_dashboard.timeline import changes_between


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def words(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    return [step.words for step in changes_between(before, after)]


ACCEPTED: dict[str, Any] = {
    "run": 1,
    "attempt": 1,
    "conditions": [condition("Accepted", "True", "Valid")],
}


def test_first_record_starts_run_one() -> None:
    assert words(None, ACCEPTED) == ["Run 1", "Accepted: Valid"]


def test_only_what_changed_is_told() -> None:
    ready = {
        **ACCEPTED,
        "conditions": [*ACCEPTED["conditions"], condition("Ready", "True", "AgentServing")],
    }
    assert words(ACCEPTED, ready) == ["Ready: AgentServing"]
    assert words(ready, ready) == ["Record updated"]


def test_failure_is_told_with_its_cause() -> None:
    """I10: the timeline names why."""
    failed = {**ACCEPTED, "result": "RetriesExhausted", "message": "exit code 3"}
    (step,) = changes_between(ACCEPTED, failed)
    assert step.words == "RetriesExhausted (exit code 3)"
    assert step.state is State.FAILED


def test_second_run_attempts_and_pull_request() -> None:
    again = {
        "run": 2,
        "attempt": 2,
        "start": 3,
        "pullRequest": {"url": "https://git.example/1", "number": 1, "repository": "a/b"},
    }
    steps = changes_between(ACCEPTED, again)
    told = [step.words for step in steps]
    assert told == ["Run 2", "Attempt 2", "Start 3 of the attempt", "Pull request"]
    assert steps[-1].link is not None
    assert steps[-1].link.url == "https://git.example/1"


def test_removal_is_told() -> None:
    assert words(ACCEPTED, None) == ["Left the source branch"]


def test_stages_of_a_failed_run() -> None:
    record = {
        "result": "RetriesExhausted",
        "startedAt": "2026-11-22T10:00:00Z",
        "conditions": [
            condition("Accepted", "True", "Valid"),
            condition("Scheduled", "True", "PodScheduled"),
            condition("Published", "False", "NothingToPublish"),
        ],
    }
    tones = {stage.title: stage.tone for stage in stages(record)}
    assert tones == {
        "Accepted": "done",
        "Scheduled": "done",
        "Running": "done",
        "Published": "skipped",
        "Finished": "bad",
    }


def test_stages_of_a_queued_task() -> None:
    record = {"conditions": [condition("Scheduled", "False", "Queued")]}
    tones = {stage.title: stage.tone for stage in stages(record)}
    assert tones["Scheduled"] == "now"
    assert tones["Running"] == tones["Finished"] == "todo"
