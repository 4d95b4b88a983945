"""An endpoint that misbehaves, a lost pod, a spent budget, a timeout and a cancellation: each ends
with its condition and cause, whatever the agent's exit code says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.agents.cases import BUDGET, CANCELLED, FAULTS, LOST, Case, each_agent
from tests.e2e.agents.site import ORG, Site, served

from guildnet import conditions, labels

if TYPE_CHECKING:
    from tests.e2e.agents.conftest import Runs

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: From the command's start to its end; the longest is an agent that retries for a while.
BOUND = timedelta(minutes=2)


def result_of(status: dict[str, Any]) -> tuple[str, str]:
    """Reason and message of the condition Succeeded."""
    found = conditions.find(status["conditions"], conditions.SUCCEEDED)
    assert found is not None
    return str(found["reason"]), str(found["message"])


def duration_of(status: dict[str, Any]) -> timedelta:
    started, ended = (datetime.fromisoformat(status[name]) for name in ("startedAt", "finishedAt"))
    return ended - started


@each_agent(*FAULTS)
async def test_a_fault_ends_the_run_with_its_cause(runs: Runs, case: Case) -> None:
    status = await runs.end_of(case)
    reason, message = result_of(status)
    assert reason in case.results, message
    if reason != conditions.TASK_SUCCEEDED:
        assert case.kind.message in message
    assert duration_of(status) < BOUND


@each_agent(BUDGET)
async def test_a_spent_budget_ends_the_run_with_its_work_pushed(
    site: Site, runs: Runs, case: Case
) -> None:
    status = await runs.end_of(case)
    reason, message = result_of(status)
    assert (reason, case.kind.message in message) == (conditions.BUDGET_EXCEEDED, True), message
    assert status["usage"]["requests"] == len(site.asked_by(case.name)) == 2
    branch = labels.agent_branch(ORG, case.name, 1)
    assert branch in site.branches()
    assert duration_of(status) < BOUND


@each_agent(CANCELLED)
async def test_a_cancelled_run_ends_its_agent(runs: Runs, case: Case) -> None:
    status = await runs.end_of(case)
    assert result_of(status)[0] in case.results
    assert duration_of(status) < BOUND


@each_agent(LOST)
async def test_a_lost_pod_goes_on_with_the_session(site: Site, runs: Runs, case: Case) -> None:
    """The next start spends no second prompt: it continues the conversation."""
    status = await runs.end_of(case)
    reason, message = result_of(status)
    assert reason == conditions.TASK_SUCCEEDED, message
    asked = site.asked_by(case.name)
    before = runs.asked_before_loss[case]
    assert len(asked) > before
    assert all(item.results >= 2 for item in asked[before:]), "the conversation began again"
    expected = served(asked)
    assert {name: status["usage"][name] for name in expected} == expected
