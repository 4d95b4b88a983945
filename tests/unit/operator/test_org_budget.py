"""While the org's budget for the day is spent, no new attempt is admitted; what runs goes on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from guildnet.agent_api.state import Failure
from guildnet.org_budget import BudgetLeft
from guildnet_operator.views import OrgSettings, org_settings

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
TODAY = date(2026, 11, 22)  # of the scene


def settings(left: int = 0, day: date = TODAY) -> OrgSettings:
    return OrgSettings(
        "acme", budget={"usdPerDay": 50}, budget_left=BudgetLeft(day, {"usdPerDay": left})
    )


@pytest.fixture
def spent(scene: Any) -> Any:
    scene.org = settings()
    return scene


def test_a_new_attempt_waits_and_says_until_when(spent: Any) -> None:
    decision = spent.settle()
    assert spent.condition("Scheduled") == ("False", "BudgetExhausted")
    message = spent.message("Scheduled")
    assert "the org's budget of 50 USD a day is spent" in message
    assert "2026-11-23T00:00:00Z" in message
    assert decision.wake_at == MIDNIGHT
    assert decision.children != "ensure"
    assert not spent.status.get("attempt")


def test_it_is_admitted_the_next_day_also_without_a_word_of_the_reconciler(spent: Any) -> None:
    spent.settle()
    spent.now = MIDNIGHT
    assert spent.settle().children == "ensure"
    assert spent.status["attempt"] == 1


def test_it_is_admitted_once_the_limit_is_raised(spent: Any) -> None:
    spent.settle()
    spent.org = settings(left=5)
    assert spent.settle().children == "ensure"


def test_an_attempt_in_progress_goes_on(scene: Any) -> None:
    scene.started()
    scene.org = settings()
    scene.settle()
    assert scene.condition("Ready") == ("True", "AgentServing")
    scene.pods.clear()
    scene.agent = None
    scene.add_pod("pod-2")
    scene.agent_waits()
    scene.settle()
    scene.pass_time(minutes=5)
    scene.settle()
    assert (scene.status["attempt"], scene.status["start"]) == (1, 2)


def test_a_retry_is_a_new_attempt(scene: Any) -> None:
    scene.started()
    scene.org = settings()
    scene.agent_says(
        step="Finished",
        outcome="Failed",
        finished_at=scene.now,
        failure=Failure("TaskFailed", "it did not work"),
    )
    scene.settle()
    assert scene.condition("Scheduled") == ("False", "BudgetExhausted")
    assert (scene.status["attempt"], scene.status["start"]) == (2, 0)
    assert scene.status["step"] == "Queued"  # holds no slot
    scene.now = MIDNIGHT
    scene.settle()
    assert scene.status["attempt"] == 2
    assert scene.status["step"] == "Waiting"


@pytest.mark.parametrize("budget", ["{", "[]", '{"day": 3}', '{"day": "2026-11-22"}'])
def test_a_budget_that_cannot_be_read_stops_nothing(budget: str) -> None:
    found = org_settings({"metadata": {}, "data": {"org": "acme", "budget": budget}})
    assert found == OrgSettings("acme", egress=())
