"""Everything that a decision is made from, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from guildnet import conditions
from guildnet.agent_api.artifacts import MAX_ARTIFACT_BYTES, Artifact
from guildnet.agent_api.state import AgentState
from guildnet.backoff import Backoff
from guildnet.units import parse_duration, parse_time
from guildnet_operator.agents.view import AgentView, Triple
from guildnet_operator.decisions.slots import Admission
from guildnet_operator.references import Refusal
from guildnet_operator.views import ChildView, EventView, Json, OrgSettings, PodView, TaskView

# What `status.step` says beyond the agent's own steps.
SUSPENDED_STEP = "Suspended"
STALLED_STEP = "Stalled"
QUEUED_STEP = "Queued"  # it released its slot and queues again
INACTIVE_STEPS = (SUSPENDED_STEP, STALLED_STEP, QUEUED_STEP)
# How long a task that released its slot does not compete for one, so that others get it.
COOLDOWN = timedelta(minutes=5)

COLLECT_TRIES = 5
_COLLECT_BACKOFF = Backoff(timedelta(seconds=2), timedelta(seconds=32), jitter=0.0)


@dataclass(frozen=True, slots=True)
class MeshView:
    """What keeps an agent from its mesh, as far as the operator itself knows.

    `refusal`: why the org's mesh cannot be used. `key_error`: why no auth key could be made.
    """

    refusal: str = ""
    key_error: str = ""


@dataclass(frozen=True)
class Observed:
    """One AgentTask and everything around it at `now`.

    `template`: digest of the pod as it is wanted now. `blocking_error`: why a child object
    could not be created or changed. `mesh`: None if the agent has no mesh to join.
    """

    task: TaskView
    org: OrgSettings
    now: datetime
    admission: Admission
    template: str = ""
    refusal: Refusal | None = None
    failed_dependency: str = ""
    children: Mapping[str, ChildView] = field(default_factory=dict)
    pods: tuple[PodView, ...] = ()
    agent: AgentView | None = None
    blocking_error: str = ""
    events: tuple[EventView, ...] = ()
    unreachable_after: timedelta = timedelta(seconds=30)
    provision_timeout: timedelta = timedelta(minutes=10)
    mesh: MeshView | None = None

    def with_status(self, status: Json) -> Observed:
        return replace(self, task=replace(self.task, status=status))

    @property
    def status(self) -> Json:
        return self.task.status

    @property
    def spec(self) -> Json:
        return self.task.spec

    @property
    def triple(self) -> Triple:
        """The run, attempt and start that status names."""
        status = self.status
        return status.get("run", 0), status.get("attempt", 0), status.get("start", 0)

    @property
    def is_finished(self) -> bool:
        return conditions.is_finished(self.status, self.task.run)

    @property
    def pods_left(self) -> tuple[PodView, ...]:
        """Pods in which something may still run."""
        return tuple(pod for pod in self.pods if not pod.is_dead)

    @property
    def pod(self) -> PodView | None:
        """The only pod; None while there is none, or while an earlier one is left as well."""
        left = self.pods_left
        return left[0] if len(left) == 1 and left[0].is_alive else None

    @property
    def assigned_pod(self) -> PodView | None:
        """The pod that status names, running or ended, as long as it exists."""
        return next((p for p in self.pods if p.name == self.status.get("pod")), None)

    @property
    def reported(self) -> AgentState | None:
        """The agent's state if it is of the start that status names, otherwise None.

        A reported end counts even after its pod is gone: that start must not run again.
        """
        state, pod = self.agent_state, self.assigned_pod
        if state is None or state.start == 0 or state.triple != self.triple:
            return None
        if state.is_over:
            return state
        spoke = self.agent.pod if self.agent is not None else ""
        return state if pod is not None and not pod.is_dead and pod.uid == spoke else None

    @property
    def agent_state(self) -> AgentState | None:
        return self.agent.state if self.agent else None

    @property
    def is_unreported(self) -> bool:
        """Whether status names a start whose pod is alive, but whose agent has not reported."""
        pod, agent = self.assigned_pod, self.agent
        if not self.status.get("start") or pod is None or not pod.is_alive:
            return False
        return agent is None or agent.pod != pod.uid or agent.state is None

    @property
    def unreachable_for(self) -> timedelta:
        """How long the agent in the pod that status names, or otherwise in the only pod, has not
        answered."""
        pod, agent = self.assigned_pod or self.pod, self.agent
        if agent is None or agent.failing_since is None or pod is None:
            return timedelta()
        is_it = (agent.failing_pod or agent.pod) == pod.uid
        return self.now - agent.failing_since if is_it else timedelta()

    @property
    def deadline(self) -> datetime | None:
        """When the attempt exceeds its timeout; None before the command starts or if suspended."""
        started = self.status.get("startedAt")
        timeout = self.spec.get("timeout")
        if not started or not timeout or self.status.get("step") == SUSPENDED_STEP:
            return None
        return parse_time(started) + parse_duration(timeout)

    @property
    def collected(self) -> Mapping[str, str]:
        """The artifacts stored in the ConfigMap: name to SHA-256."""
        child = self.children.get("ConfigMap")
        return dict(child.artifacts) if child else {}

    @property
    def has_editor(self) -> bool:
        return bool(self.spec.get("editor", {}).get("enabled", True))


def collectable(state: AgentState) -> tuple[tuple[Artifact, ...], tuple[Artifact, ...]]:
    """(artifacts to store, artifacts beyond the 256 KiB that are stored together)."""
    kept: list[Artifact] = []
    left: list[Artifact] = []
    total = 0
    for artifact in state.bodies:
        if total + artifact.bytes <= MAX_ARTIFACT_BYTES:
            kept.append(artifact)
            total += artifact.bytes
        else:
            left.append(artifact)
    return tuple(kept), tuple(left)


def has_more_to_collect(o: Observed, state: AgentState) -> bool:
    """Whether artifacts are missing that can be fetched, and fetching has not failed too often."""
    tries = o.agent.collect_failures if o.agent else 0
    pod = o.assigned_pod
    if pod is None or pod.is_dead or tries >= COLLECT_TRIES:
        return False
    collected = o.collected
    return any(collected.get(a.name) != a.sha256 for a in collectable(state)[0])


def collect_again_at(o: Observed) -> datetime:
    """When to fetch again if fetching fails now; all pauses together take half a minute."""
    tries = o.agent.collect_failures if o.agent else 0
    return o.now + _COLLECT_BACKOFF.ceiling(tries + 1)


def json_status(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status without its unset fields."""
    return {key: value for key, value in status.items() if value is not None}
