"""The Events of `kubectl describe agenttask`: each decisive change, once, in order."""

from __future__ import annotations

from typing import Any

from guildnet.kube import EVENTS


async def events_of(org: Any, task: str) -> list[tuple[str, str, str]]:
    """(type, reason, message) in the order in which `kubectl describe` shows them."""
    found = await org.admin.list_all(
        EVENTS, org.namespace, field_selector=f"involvedObject.name={task}"
    )
    own = [e for e in found if e["involvedObject"]["kind"] == "AgentTask"]
    own.sort(key=lambda e: e["lastTimestamp"])  # the API server lists by name
    return [(e["type"], e["reason"], e["message"]) for e in own]


async def test_events_of_two_attempts_across_an_operator_restart(org: Any, node: Any) -> None:
    """I4: an operator that takes over repeats no Event."""
    await org.add("story", retries=1)
    async with org.operated():
        pod = await node.run_pod("story")
        await org.reaches("story", "Ready", "True", "AgentServing")
        first = await events_of(org, "story")
    async with org.operated():
        node.show(
            pod,
            step="Finished",
            outcome="Failed",
            exitCode=3,
            failure={"reason": "TaskFailed", "message": "exit code 3", "infrastructure": False},
        )
        await org.comes_to(lambda: _got_start(node, attempt=2), "the second attempt")
        node.show(pod, step="Running")
        await org.reaches("story", "Ready", "True", "AgentServing")
        node.show(
            pod,
            step="Finished",
            outcome="Succeeded",
            exitCode=0,
            published={"reason": "PullRequestOpened", "message": "https://git.example/1"},
            pullRequest={"url": "https://git.example/1", "number": 1, "state": "open"},
        )
        await org.reaches("story", "Finished", "True", "TaskSucceeded")
        await org.comes_to(lambda: _has_reason(org, "TaskSucceeded"), "its last Event")
    events = await events_of(org, "story")
    assert events[: len(first)] == first
    reasons = [reason for _, reason, _ in events if reason != "VolumePending"]
    assert reasons == [
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
    warnings = [
        message for kind, reason, message in events if kind == "Warning" and "V" not in reason
    ]
    assert warnings == ["exit code 3 (attempt 1 of 2); starting the next attempt"]
    starts = [message for _, reason, message in events if reason == "Starting"]
    assert starts == [f"run 1, attempt {n}, start 1 in pod {pod}" for n in (1, 2)]


async def test_a_suspension_and_a_cancellation_have_events(org: Any, node: Any) -> None:
    await org.add("halted")
    async with org.operated():
        pod = await node.run_pod("halted")
        await org.reaches("halted", "Ready", "True", "AgentServing")
        await org.edit("halted", suspend=True)
        await org.reaches("halted", "Suspended", "True", "Suspended")
        await node.gone(pod)
        await org.edit("halted", suspend=False)
        await node.run_pod("halted")
        await org.reaches("halted", "Ready", "True", "AgentServing")
        await org.edit("halted", cancel=True)
        await org.reaches("halted", "Finished", "True", "Cancelled")
        await org.comes_to(lambda: _has_reason(org, "Cancelled", "halted"), "its last Event")
    reasons = [
        reason for _, reason, _ in await events_of(org, "halted") if reason != "VolumePending"
    ]
    assert reasons == [
        "Provisioning",
        "PodScheduled",
        "Starting",
        "AgentServing",
        "Suspended",
        "Provisioning",
        "PodScheduled",
        "Starting",
        "AgentServing",
        "Cancelled",
    ]


async def _got_start(node: Any, *, attempt: int) -> bool:
    """The start may be sent again: an agent takes it once."""
    return any(path == "/start" and body["attempt"] == attempt for _, path, body in node.requests)


async def _has_reason(org: Any, reason: str, task: str = "story") -> bool:
    return any(found == reason for _, found, _ in await events_of(org, task))
