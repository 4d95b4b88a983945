"""The cases of this tier: an agent, what happens to it, and what must become of the task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.e2e.agents.site import PROTOCOLS

from guildnet import conditions

FAILED = (conditions.TASK_FAILED, conditions.RETRIES_EXHAUSTED)
SHORT = {"timeout": "30s"}


@dataclass(frozen=True)
class Kind:
    """``results`` are those allowed, ``message`` is in the condition's message."""

    name: str
    model: str
    results: tuple[str, ...]
    message: str = ""
    spec: dict[str, Any] = field(default_factory=dict, hash=False)


HAPPY = Kind(
    "repair",
    "main",
    (conditions.TASK_SUCCEEDED,),
    spec={"editor": {"enabled": True, "afterFinished": "30m"}},
)
LOST = Kind("lost-pod", "lost", (conditions.TASK_SUCCEEDED,), spec={"priority": 20})
CANCELLED = Kind("cancel", "looping", (conditions.CANCELLED,), spec={"priority": 10})
BUDGET = Kind(
    "budget",
    "main",
    (conditions.BUDGET_EXCEEDED,),
    "2 of 2 requests",
    {"agent": {"budget": {"requests": 2}}},
)
FAULTS = (
    Kind("unauthorized", "unauthorized", FAILED, "401"),
    Kind("too-many", "too-many", FAILED, "429"),
    Kind("broken", "broken", FAILED, "its model endpoint failed"),
    Kind("cut", "cut", FAILED, "its model endpoint failed"),
    Kind("hang", "hanging", (conditions.DEADLINE_EXCEEDED,), spec=SHORT),
    Kind("timeout", "looping", (conditions.DEADLINE_EXCEEDED,), spec=SHORT),
)
KINDS = (LOST, CANCELLED, HAPPY, BUDGET, *FAULTS)


@dataclass(frozen=True)
class Case:
    agent: str
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.kind.name}-{self.agent}"

    @property
    def results(self) -> tuple[str, ...]:
        """Claude Code asks again without a stream when one breaks off, and so goes on."""
        recovers = self.agent == "claude-code" and self.kind.name == "cut"
        return (conditions.TASK_SUCCEEDED,) if recovers else self.kind.results


def each_agent(*kinds: Kind) -> pytest.MarkDecorator:
    """Parametrize a test by the agents, for each of these kinds."""
    cases = [Case(agent, kind) for kind in kinds for agent in PROTOCOLS]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
