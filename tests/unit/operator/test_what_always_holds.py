"""Whatever happens around an AgentTask, in whichever order: what the operator never does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib import resources
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guildnet import conditions
from guildnet_operator.agent_state import AgentState, Reason
from guildnet_operator.decision import Start, Stop
from guildnet_operator.observed import AgentView

STEPS = (
    "pod", "pod dies", "pod deleted", "pod gone", "agent runs", "agent succeeds", "agent fails",
    "infrastructure fails", "operator restarts", "a minute", "three hours", "edit", "ignore edit",
    "suspend", "resume", "cancel", "silence",
)  # fmt: skip
STATUS = jsonschema.Draft202012Validator(
    json.loads((resources.files("guildnet") / "schemas" / "status.json").read_text())
)


class World:
    """A cluster small enough to think of: pods with one agent each, which do as told."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.agents: dict[str, AgentState] = {}
        self.told: list[tuple[int, int, int]] = []
        self.finished: dict[int, tuple[str, str]] = {}
        self.count = 0

    def step(self, what: str) -> None:
        getattr(self, "_" + what.replace(" ", "_"))()
        for _ in range(4):
            self._operate()
        self._hear()

    def _operate(self) -> None:
        scene = self.scene
        before = dict(scene.status)
        decision = scene.decide()
        self._check(before)
        if isinstance(decision.command, Start):
            triple = (before["run"], before["attempt"], before["start"])
            assert before["pod"] == decision.command.pod.name, "told before the status said so"
            assert triple not in self.told or self.told[-1] == triple, "a start told twice"
            assert not self._others_work(decision.command.pod.uid), "two agents at work"
            self.told.append(triple)
            self.agents[decision.command.pod.uid] = AgentState(*triple, step="Running",
                                                               started_at=scene.now)  # fmt: skip
        elif isinstance(decision.command, Stop):
            uid = decision.command.pod.uid
            state = self.agents[uid]
            if not state.is_over:
                self.agents[uid] = replace(state, step="Stopped", outcome="Stopped")
        if decision.children == "park":
            scene.pods.clear()
        self._hear()

    def _others_work(self, uid: str) -> bool:
        alive = {pod.uid for pod in self.scene.pods if not pod.is_dead} - {uid}
        return any(self.agents[other].step == "Running" for other in alive)

    def _check(self, before: dict[str, Any]) -> None:
        """I7: an end stands; and starts only grow. Every status is one the CRD takes."""
        status = self.scene.status
        STATUS.validate(status)
        run = status["run"]
        if conditions.is_finished(status, run):
            succeeded = conditions.find(status["conditions"], conditions.SUCCEEDED)
            assert succeeded is not None
            verdict = (succeeded["status"], succeeded["reason"])
            assert self.finished.setdefault(run, verdict) == verdict
        else:
            assert run not in self.finished, "a finished run became unfinished"
        old = tuple(before.get(k, 0) for k in ("run", "attempt", "start"))
        assert tuple(status.get(k, 0) for k in ("run", "attempt", "start")) >= old

    def _hear(self) -> None:
        living = [pod for pod in self.scene.pods if not pod.is_dead]
        if living:
            pod = living[-1]
            self.scene.agent = AgentView(pod.uid, self.agents[pod.uid])

    def _current(self) -> str | None:
        living = [pod for pod in self.scene.pods if not pod.is_dead]
        return living[-1].uid if living else None

    def _change(self, **fields: Any) -> None:
        uid = self._current()
        if uid is not None and self.agents[uid].step == "Running":
            self.agents[uid] = replace(self.agents[uid], finished_at=self.scene.now, **fields)

    def _pod(self) -> None:
        if not self.scene.pods or all(pod.is_dead for pod in self.scene.pods):
            self.count += 1
            pod = self.scene.add_pod(f"pod-{self.count}")
            self.agents[pod.uid] = AgentState()

    def _pod_dies(self) -> None:
        self.scene.pods = [replace(pod, phase="Failed") for pod in self.scene.pods]

    def _pod_deleted(self) -> None:
        self.scene.pods = [replace(pod, deleted_at=self.scene.now) for pod in self.scene.pods]

    def _pod_gone(self) -> None:
        self.scene.pods = []

    def _agent_runs(self) -> None:
        pass

    def _agent_succeeds(self) -> None:
        self._change(step="Finished", outcome="Succeeded")

    def _agent_fails(self) -> None:
        self._change(step="Finished", outcome="Failed", failure=Reason("TaskFailed", "exit 1"))

    def _infrastructure_fails(self) -> None:
        why = Reason("Interrupted", "restarted", infrastructure=True)
        self._change(step="Finished", outcome="Failed", failure=why)

    def _operator_restarts(self) -> None:
        self.scene.agent = None

    def _a_minute(self) -> None:
        self.scene.now += timedelta(minutes=6)

    def _three_hours(self) -> None:
        self.scene.now += timedelta(hours=3)

    def _edit(self) -> None:
        self.scene.spec |= {"run": self.scene.spec["run"] + 1, "onChange": "Restart"}

    def _ignore_edit(self) -> None:
        self.scene.spec |= {"run": self.scene.spec["run"] + 1, "onChange": "Ignore"}

    def _suspend(self) -> None:
        self.scene.spec["suspend"] = True

    def _resume(self) -> None:
        self.scene.spec["suspend"] = False

    def _cancel(self) -> None:
        self.scene.spec["cancel"] = True

    def _silence(self) -> None:
        if self.scene.agent is not None:
            since = self.scene.now - timedelta(minutes=1)
            self.scene.agent = replace(self.scene.agent, failing_since=since, error="refused")


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(STEPS), max_size=25))
def test_an_end_stands_and_two_agents_never_work_at_once(
    make_scene: Callable[[], Any], story: list[str]
) -> None:
    """I7"""
    world = World(make_scene())
    for what in story:
        world.step(what)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(STEPS), max_size=15))
def test_where_nothing_happens_nothing_is_written(
    make_scene: Callable[[], Any], story: list[str]
) -> None:
    """I4: also a second later, and for an operator that has just started."""
    world = World(make_scene())
    for what in story:
        world.step(what)
    for _ in range(6):
        world.step("agent runs")
    world.scene.now += timedelta(seconds=1)
    settled = dict(world.scene.status)
    world.step("agent runs")
    assert world.scene.status == settled
