"""Polling an agent over real HTTP: changes are reported, failures dated, the last state kept."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from guildnet.kube import KubeClient
from guildnet_operator.agents.sessions import AgentSessions
from guildnet_operator.views import PodView, TaskView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = TaskView("fix-login", "agents", "0f1e2d3c", 1, "1", NOW, "acme", {}, {})
POD = PodView("pod-1", "uid-1", "fix-login", NOW)


@pytest.fixture
def changes() -> list[str]:
    return []


@pytest.fixture
async def agents(
    client: KubeClient, agent: Any, changes: list[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AgentSessions]:
    key = base64.b64encode(agent.key.hex().encode()).decode()

    async def get(*_: Any, **__: Any) -> dict[str, Any]:
        return {"data": {"api-key": key}}

    monkeypatch.setattr(client, "get", get)
    made = AgentSessions(client, changes.append, lambda: None)
    yield made
    await made.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  the views have no event of their own
            await asyncio.sleep(0.01)


async def test_only_changes_are_reported(
    agents: AgentSessions, agent: Any, changes: list[str]
) -> None:
    agents.start_polling(TASK, POD)
    await until(lambda: changes)
    asked = len(agent.asked)
    await until(lambda: len(agent.asked) > asked + 3)
    assert changes == ["fix-login"]
    agent.state = {**agent.state, "step": "Running", "run": 1, "attempt": 1, "start": 1}
    await until(lambda: len(changes) == 2)
    view = agents.view("fix-login")
    assert view is not None
    assert view.state is not None
    assert (view.pod, view.state.step) == ("uid-1", "Running")


async def test_an_unreachable_agent_is_dated_from_the_first_failure(
    agents: AgentSessions, agent: Any, changes: list[str]
) -> None:
    agent.spoil = lambda answer: web.Response(status=502)
    agents.start_polling(TASK, POD)
    await until(lambda: changes)
    first = agents.view("fix-login")
    assert first is not None
    assert first.failing_since is not None
    asked = len(agent.asked)
    await until(lambda: len(agent.asked) > asked)
    later = agents.view("fix-login")
    assert later is not None
    assert later.failing_since == first.failing_since
    agent.spoil = None
    await until(lambda: (view := agents.view("fix-login")) and view.failing_since is None)


async def test_an_earlier_pods_last_state_counts_until_the_new_one_reports(
    agents: AgentSessions, agent: Any, changes: list[str]
) -> None:
    """I7: a pod may report its end last of all."""
    agents.start_polling(TASK, POD)
    await until(lambda: changes)
    agent.spoil = lambda answer: web.Response(status=502)
    agents.start_polling(TASK, PodView("pod-2", "uid-2", "fix-login", NOW))
    asked = len(agent.asked)
    await until(lambda: len(agent.asked) > asked + 1)
    view = agents.view("fix-login")
    assert view is not None
    assert view.pod == "uid-1"
    agent.spoil = None
    await until(lambda: (v := agents.view("fix-login")) and v.pod == "uid-2")


async def test_changed_artifacts_reset_the_failed_fetches(
    agents: AgentSessions, agent: Any, changes: list[str]
) -> None:
    """I6: a file that kept changing while it was fetched is fetched again at the end."""
    agents.start_polling(TASK, POD)
    await until(lambda: changes)
    for _ in range(5):
        agents.collecting_failed("fix-login", "report.json is not of the digest")
    view = agents.view("fix-login")
    assert view is not None
    assert view.collect_failures == 5
    listed = {"name": "report.json", "bytes": 1, "sha256": "a" * 64}
    agent.state = {**agent.state, "artifacts": [listed]}
    await until(lambda: (v := agents.view("fix-login")) and v.collect_failures == 0)
