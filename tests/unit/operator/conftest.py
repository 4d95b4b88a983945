"""One AgentTask and its surroundings, built from plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from guildnet import conditions
from guildnet.agent_api.artifacts import Artifact
from guildnet.agent_api.state import AgentState, Failure
from guildnet_operator.agents.view import AgentView
from guildnet_operator.decisions.actions import Decision
from guildnet_operator.decisions.decide import decide
from guildnet_operator.decisions.inputs import MeshView, Observed
from guildnet_operator.decisions.slots import Admission
from guildnet_operator.references import Refusal
from guildnet_operator.views import (
    ChildView,
    ContainerView,
    OrgSettings,
    PodView,
    TaskView,
)

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
UID = "0f1e2d3c-0000-4000-8000-000000000001"
SPEC: dict[str, Any] = {
    "prompt": "fix it",
    "agent": {"preset": "shell", "command": ["sh", "-c", "true"]},
    "editor": {"enabled": True, "afterFinished": "1h"},
    "timeout": "2h",
    "retries": 2,
    "run": 1,
}


@dataclass
class Scene:
    """One AgentTask and its surroundings. Methods change them; `decide` applies the decision."""

    spec: dict[str, Any] = field(default_factory=lambda: dict(SPEC))
    status: dict[str, Any] = field(default_factory=dict)
    now: datetime = NOW
    pods: list[PodView] = field(default_factory=list)
    agent: AgentView | None = None
    admission: Admission = field(default_factory=lambda: Admission(True))
    refusal: Refusal | None = None
    blocking_error: str = ""
    deleting: bool = False
    template: str = "sha256:t1"
    children: dict[str, ChildView] = field(default_factory=dict)
    failed_dependency: str = ""
    generation: int = 1
    org: OrgSettings = field(default_factory=lambda: OrgSettings("acme"))
    mesh: MeshView | None = None

    def observed(self) -> Observed:
        task = TaskView(
            "fix-login", "agents", UID, self.generation, "1", NOW, "acme",
            dict(self.spec), dict(self.status), self.deleting,
        )  # fmt: skip
        return Observed(
            task=task,
            org=self.org,
            now=self.now,
            admission=self.admission,
            template=self.template,
            refusal=self.refusal,
            failed_dependency=self.failed_dependency,
            children=self.children,
            pods=tuple(self.pods),
            agent=self.agent,
            blocking_error=self.blocking_error,
            mesh=self.mesh,
        )

    def decide(self) -> Decision:
        """Decide, and write the status."""
        decision = decide(self.observed())
        self.status = dict(decision.status)
        return decision

    def settle(self) -> Decision:
        """Decide until the status does not change any more."""
        for _ in range(10):
            before = self.status
            decision = self.decide()
            if self.status == before:
                return decision
        raise AssertionError(f"the status keeps changing: {self.status}")

    def pass_time(self, **span: float) -> None:
        self.now += timedelta(**span)

    def add_pod(self, name: str = "pod-1", **changes: Any) -> PodView:
        pod = PodView(
            name, f"uid-{name}", "fix-login", self.now, phase="Running", node="node-1",
            template=self.template, scheduled=True,
            containers=(
                ContainerView("supervisor", running=True, ready=True),
                ContainerView("work", running=True, ready=True),
            ),
        )  # fmt: skip
        pod = replace(pod, **changes)
        self.pods.append(pod)
        return pod

    def agent_says(self, pod: PodView | None = None, **state: Any) -> None:
        """The agent in `pod` reports this state for the start that status names."""
        chosen = pod or self.pods[-1]
        triple = {name: self.status.get(name, 0) for name in ("run", "attempt", "start")}
        self.agent = AgentView(chosen.uid, AgentState(**{**triple, **state}))

    def agent_waits(self) -> None:
        self.agent = AgentView(self.pods[-1].uid, AgentState())

    def started(self, **state: Any) -> None:
        """Bring the task to a running command."""
        self.settle()
        self.add_pod()
        self.agent_waits()
        self.settle()
        self.agent_says(**{"step": "Running", "started_at": self.now, **state})
        self.settle()

    def condition(self, kind: str) -> tuple[str, str]:
        found = conditions.find(self.status["conditions"], kind)
        assert found is not None
        return found["status"], found["reason"]

    def message(self, kind: str) -> str:
        found = conditions.find(self.status["conditions"], kind)
        assert found is not None
        return str(found["message"])


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def make_scene() -> Callable[[], Scene]:
    return Scene


@pytest.fixture
def failed_state() -> dict[str, Any]:
    """The state after a failed command."""
    return {
        "step": "Finished",
        "outcome": "Failed",
        "exit_code": 3,
        "failure": Failure("TaskFailed", "exit code 3"),
        "finished_at": NOW + timedelta(minutes=1),
        "log_tail": "no such file",
    }


@pytest.fixture
def artifact() -> Artifact:
    return Artifact("report.json", 12, "a" * 64)
