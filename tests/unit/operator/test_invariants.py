"""What the operator never does, whatever happens to an AgentTask, in whichever order."""

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
from guildnet.agent_api.state import AgentState, Failure
from guildnet_operator.agents.view import AgentView
from guildnet_operator.decisions.actions import Start, Stop
from guildnet_operator.decisions.slots import Admission
from guildnet_operator.observe import is_active
from guildnet_operator.references import Refusal

STEPS = (
    "pod", "pod dies", "pod deleted", "pod gone", "agent runs", "agent succeeds", "agent fails",
    "infrastructure fails", "operator restarts", "a minute", "three hours", "edit", "ignore edit",
    "suspend", "resume", "cancel", "unreachable", "not ready", "refuse", "accept", "others wait",
    "agent publishes", "none waits", "fill the slots", "free a slot",
    "unschedulable pod", "quota",
)  # fmt: skip
# What happens, and how often the operator gets to act before the next thing does.
stories = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 4)), max_size=25)
STATUS = jsonschema.Draft202012Validator(
    json.loads((resources.files("guildnet") / "schemas" / "status.json").read_text())
)


class Simulation:
    """A small simulated cluster: pods with one agent each, which obey commands."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.agents: dict[str, AgentState] = {}
        self.reported: list[tuple[int, int, int]] = []
        self.finished: dict[int, tuple[str, str]] = {}
        self.count = 0
        self.waiting = 0
        self.is_full = False

    def step(self, what: str, acts: int = 4) -> None:
        getattr(self, "_" + what.replace(" ", "_"))()
        for _ in range(acts):
            self._operate()

    def _operate(self) -> None:
        scene = self.scene
        before = dict(scene.status)
        task = scene.observed().task
        has_slot = is_active(task) or not self.is_full
        scene.admission = Admission(has_slot, 1, 1, self.waiting)
        decision = scene.decide()
        self._check(before)
        if scene.status == before and decision.wake_at is not None:
            assert decision.wake_at > scene.now, "looked at again and again, and nothing changes"
        if isinstance(decision.command, Start):
            triple = (before["run"], before["attempt"], before["start"])
            assert before["pod"] == decision.command.pod.name, "sent before the status held it"
            assert triple not in self.reported or self.reported[-1] == triple, "a start sent twice"
            assert not self._others_work(decision.command.pod.uid), "two agents at work"
            self.reported.append(triple)
            self.agents[decision.command.pod.uid] = AgentState(*triple, step="Running",
                                                               started_at=scene.now)  # fmt: skip
        elif isinstance(decision.command, Stop):
            uid = decision.command.pod.uid
            state = self.agents[uid]
            if not state.is_over:
                self.agents[uid] = replace(state, step="Stopped", outcome="Stopped")
        if decision.children == "park":
            scene.pods.clear()
        self._agent_says()

    def _others_work(self, uid: str) -> bool:
        alive = {pod.uid for pod in self.scene.pods if not pod.is_dead} - {uid}
        return any(self.agents[other].step in ("Running", "Publishing") for other in alive)

    def _check(self, before: dict[str, Any]) -> None:
        """I7: results never change, and starts only grow. Every status is valid by the CRD."""
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

    def _agent_says(self) -> None:
        living = [pod for pod in self.scene.pods if not pod.is_dead]
        if living:
            pod = living[-1]
            self.scene.agent = AgentView(pod.uid, self.agents[pod.uid])

    def _current(self) -> str | None:
        living = [pod for pod in self.scene.pods if not pod.is_dead]
        return living[-1].uid if living else None

    def _change(self, **fields: Any) -> None:
        uid = self._current()
        if uid is not None and self.agents[uid].step in ("Running", "Publishing"):
            self.agents[uid] = replace(self.agents[uid], **fields)

    def _pod(self) -> None:
        if not self.scene.pods or all(pod.is_dead for pod in self.scene.pods):
            self.count += 1
            pod = self.scene.add_pod(f"pod-{self.count}")
            self.agents[pod.uid] = AgentState()

    def _unschedulable_pod(self) -> None:
        if not self.scene.pods:
            self._pod()
            waiting = {"scheduled": False, "node": "", "containers": (), "phase": "Pending"}
            self.scene.pods[-1] = replace(
                self.scene.pods[-1], **waiting, unschedulable="0/1 nodes fit"
            )

    def _quota(self) -> None:
        self.scene.blocking_error = "exceeded quota: pods=0"

    def _pod_dies(self) -> None:
        self.scene.pods = [replace(pod, phase="Failed") for pod in self.scene.pods]

    def _pod_deleted(self) -> None:
        self.scene.pods = [replace(pod, deleted_at=self.scene.now) for pod in self.scene.pods]

    def _pod_gone(self) -> None:
        self.scene.pods = []

    def _agent_runs(self) -> None:
        pass

    def _agent_publishes(self) -> None:
        self._change(step="Publishing")

    def _agent_succeeds(self) -> None:
        self._end(outcome="Succeeded")

    def _agent_fails(self) -> None:
        self._end(outcome="Failed", failure=Failure("TaskFailed", "exit 1"))

    def _infrastructure_fails(self) -> None:
        why = Failure("Interrupted", "restarted", infrastructure=True)
        self._end(outcome="Failed", failure=why)

    def _end(self, **fields: Any) -> None:
        self._change(step="Finished", finished_at=self.scene.now, **fields)

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

    def _not_ready(self) -> None:
        self.scene.pods = [replace(pod, containers=()) for pod in self.scene.pods]

    def _refuse(self) -> None:
        self.scene.refusal = Refusal("SecretNotFound", "there is no Secret forge")

    def _accept(self) -> None:
        self.scene.refusal = None

    def _others_wait(self) -> None:
        self.waiting = 3

    def _none_waits(self) -> None:
        self.waiting = 0

    def _fill_the_slots(self) -> None:
        self.is_full = True

    def _free_a_slot(self) -> None:
        self.is_full = False

    def _unreachable(self) -> None:
        if self.scene.agent is not None:
            since = self.scene.now - timedelta(minutes=1)
            self.scene.agent = replace(self.scene.agent, failing_since=since, error="refused")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(stories)
def test_results_never_change_and_two_agents_never_work_at_once(
    make_scene: Callable[[], Any], story: list[tuple[str, int]]
) -> None:
    """I7: even if the operator dies between any two of its actions."""
    simulation = Simulation(make_scene())
    for what, acts in story:
        simulation.step(what, acts)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(stories)
def test_a_settled_task_is_not_written_again(
    make_scene: Callable[[], Any], story: list[tuple[str, int]]
) -> None:
    """I4: also a second later, and after a restart of the operator."""
    simulation = Simulation(make_scene())
    for what, acts in story:
        simulation.step(what, acts)
    for _ in range(6):
        simulation.step("agent runs")
    simulation.scene.now += timedelta(seconds=1)
    settled = dict(simulation.scene.status)
    simulation.step("agent runs")
    assert simulation.scene.status == settled
