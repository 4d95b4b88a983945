"""The changes of a record that the timeline lists, and the stages of a run."""

from __future__ import annotations

from typing import Any

from guildnet_dashboard.stages import stages
from guildnet_dashboard.states import State
from guildnet_dashboard.timeline import changes_between


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def texts(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    return [change.text for change in changes_between(before, after)]


ACCEPTED: dict[str, Any] = {
    "run": 1,
    "attempt": 1,
    "conditions": [condition("Accepted", "True", "Valid")],
}


def test_first_record_starts_run_one() -> None:
    assert texts(None, ACCEPTED) == ["Run 1", "Accepted: Valid"]


def test_unchanged_fields_are_not_listed() -> None:
    ready = {
        **ACCEPTED,
        "conditions": [*ACCEPTED["conditions"], condition("Ready", "True", "AgentServing")],
    }
    assert texts(ACCEPTED, ready) == ["Ready: AgentServing"]
    assert texts(ready, ready) == ["Record updated"]


def test_failure_is_listed_with_its_cause() -> None:
    """I10: the timeline shows the cause."""
    failed = {**ACCEPTED, "result": "RetriesExhausted", "message": "exit code 3"}
    (change,) = changes_between(ACCEPTED, failed)
    assert change.text == "RetriesExhausted (exit code 3)"
    assert change.state is State.FAILED


def test_second_run_attempts_and_pull_request() -> None:
    again = {
        "run": 2,
        "attempt": 2,
        "start": 3,
        "pullRequest": {"url": "https://git.example/1", "number": 1, "repository": "a/b"},
    }
    changes = changes_between(ACCEPTED, again)
    assert [change.text for change in changes] == [
        "Run 2",
        "Attempt 2",
        "Start 3 of the attempt",
        "Pull request",
    ]
    assert changes[-1].link is not None
    assert changes[-1].link.url == "https://git.example/1"


def test_removal_is_listed() -> None:
    assert texts(ACCEPTED, None) == ["Removed from the source branch"]


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
