"""A run that reached its budget ends: its work is kept, and nothing is retried."""

from __future__ import annotations

from typing import Any

from guildnet.agent_api.state import Failure

AMOUNT = {"requests": 4, "inputTokens": 10, "cachedInputTokens": 0, "outputTokens": 2}
USAGE = {**AMOUNT, "costUsd": 3, "models": {"m-1": {**AMOUNT, "costUsd": 3}}}


def spent(scene: Any) -> None:
    scene.agent_says(
        step="Finished",
        outcome="Failed",
        finished_at=scene.now,
        failure=Failure("BudgetExceeded", "the budget of this run is spent: 4 of 4 requests"),
        branch="guildnet/acme/fix-login",
        published=Failure("BranchPushed", "its work is saved"),
        usage=USAGE,
    )
    scene.settle()


def test_it_is_terminal_although_attempts_are_left(scene: Any) -> None:
    scene.started()
    assert scene.spec["retries"] > 0
    spent(scene)
    assert scene.condition("Succeeded") == ("False", "BudgetExceeded")
    assert scene.condition("Finished") == ("True", "BudgetExceeded")
    assert scene.condition("Published") == ("True", "BranchPushed")
    assert scene.status["phase"] == "BudgetExceeded"
    assert scene.status["attempt"] == 1
    assert scene.status["usage"] == USAGE
    message = scene.message("Succeeded")
    assert "4 of 4 requests; its work is on guildnet/acme/fix-login" in message
    assert "raise spec.agent.budget" in message


def test_usage_is_shown_while_the_agent_works(scene: Any) -> None:
    scene.started()
    scene.agent_says(step="Running", usage=USAGE)
    scene.settle()
    assert scene.status["usage"] == USAGE
    assert scene.condition("Finished")[0] == "Unknown"


def test_the_history_keeps_what_an_earlier_run_used(scene: Any) -> None:
    scene.started()
    spent(scene)
    scene.spec["run"] = 2
    scene.settle()
    assert scene.status["history"][0]["usage"] == {**AMOUNT, "costUsd": 3}
    assert "usage" not in scene.status
