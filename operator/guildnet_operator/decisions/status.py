"""An AgentTask's status: its fields, conditions and history. Pure.

What to do next is decided elsewhere; this module only writes it down.
"""

from __future__ import annotations

from typing import Any

from guildnet import conditions, labels
from guildnet.agent_api.artifacts import OWN_DOCUMENTS
from guildnet.agent_api.state import AgentState
from guildnet.conditions import Condition, Status
from guildnet.record.usage import without_models
from guildnet.text import clean_text
from guildnet.units import rfc3339
from guildnet_operator.decisions.inputs import (
    SUSPENDED_STEP,
    Observed,
    collectable,
    has_more_to_collect,
    json_status,
)
from guildnet_operator.decisions.mesh import mesh_peer, mesh_problem
from guildnet_operator.decisions.pod_failures import PodFailure

MAX_HISTORY = 10
PENDING = "Pending"
# Failures that another attempt would repeat, because the command is not their cause.
NOT_RETRIED = ("PushRejected", "ForgeRefused", "InvalidSpec")


class StatusDraft:
    """The next status, built from the present one."""

    def __init__(self, o: Observed) -> None:
        self._o = o
        self._fields: dict[str, Any] = dict(o.status)
        self._wanted: dict[str, Condition] = {}

    def put(self, **fields: Any) -> StatusDraft:
        """Set fields; None removes a field."""
        self._fields.update(fields)
        return self

    def condition(self, kind: str, status: Status, reason: str, message: str = "") -> StatusDraft:
        """Set a condition. The last call wins: only it can change the transition time."""
        message = clean_text(message, conditions.MAX_MESSAGE)
        self._wanted[kind] = Condition(kind, status, reason, message)
        return self

    def build(self) -> dict[str, Any]:
        generation = self._o.task.generation
        self._fields["observedGeneration"] = generation
        self._fields["conditions"] = conditions.merged(
            self._fields.get("conditions", ()),
            self._wanted.values(),
            generation=generation,
            now=self._o.now,
        )
        return json_status(self._fields)

    def accepted(self) -> StatusDraft:
        """Set Accepted. A task that was accepted stays so: its agent has what it needs."""
        refusal = self._o.refusal
        before = conditions.find(self._fields.get("conditions", ()), conditions.ACCEPTED)
        if refusal is not None and (before is None or before.get("status") != "True"):
            return self.condition(conditions.ACCEPTED, "False", refusal.reason, refusal.message)
        return self.condition(conditions.ACCEPTED, "True", "Valid")

    def working(self, reason: str, message: str = "") -> StatusDraft:
        """The operator is working on it: kstatus reads InProgress."""
        self.condition(conditions.RECONCILING, "True", reason, message)
        self.condition(conditions.SUSPENDED, "False", "NotSuspended")
        return self.condition(conditions.STALLED, "False", "NotStalled")

    def waiting(self, reason: str, message: str = "") -> StatusDraft:
        """Something else must happen first. A suspended task stays so, its timeout paused."""
        if self._o.status.get("step") != SUSPENDED_STEP:
            return self.working(reason, message)
        self.condition(conditions.RECONCILING, "True", reason, message)
        return self.condition(conditions.STALLED, "False", "NotStalled")

    def idle(self, *, stalled: str = "", message: str = "") -> StatusDraft:
        """The operator has nothing to do. `stalled`: the reason why a person is needed."""
        reason = stalled or "Idle"
        self.condition(conditions.RECONCILING, "False", reason)
        if stalled:
            return self.condition(conditions.STALLED, "True", stalled, message)
        return self.condition(conditions.STALLED, "False", "NotStalled")

    def failure(self, failure: PodFailure) -> StatusDraft:
        return self.condition(failure.type, "False", failure.reason, failure.text)

    def pod(self) -> StatusDraft:
        """What the pod shows: whether it is scheduled, and its editor."""
        pod = self._o.pod
        if pod is not None and pod.scheduled:
            self.condition(conditions.SCHEDULED, "True", "PodScheduled", f"on {pod.node}")
        return self.editor()

    def unscheduled(self) -> StatusDraft:
        """Reset Scheduled on admission: its value was of an earlier pod, or of the queue."""
        pod = self._o.pod
        if pod is not None and pod.scheduled:
            return self
        return self.condition(
            conditions.SCHEDULED, "Unknown", PENDING, "the pod is not scheduled yet"
        )

    def editor(self) -> StatusDraft:
        o = self._o
        if not o.has_editor:
            self.put(editor=None)
            return self.condition(conditions.EDITOR_READY, "False", "Disabled")
        name = o.task.child_name
        editor = {"service": name, "port": labels.EDITOR_PORT, "secret": name, "mesh": mesh_peer(o)}
        self.put(editor=json_status(editor))
        if o.pod is not None and o.pod.container("work").ready:
            how = f"guildnet editor {o.task.org}/{o.task.name}"
            problem = mesh_problem(o)
            if problem:
                message = f"{problem}. Without the mesh: {how}"
                return self.condition(conditions.EDITOR_READY, "False", "MeshUnavailable", message)
            return self.condition(conditions.EDITOR_READY, "True", "Serving", how)
        return self.condition(
            conditions.EDITOR_READY, "False", "Stopped", "the editor's container is not ready"
        )

    def agent(self, state: AgentState) -> StatusDraft:
        """Copy the agent's state. A field that it does not report keeps its earlier value."""
        o = self._o
        reported = {
            "step": state.step,
            "branch": state.branch,
            "commit": state.commit,
            "pullRequest": state.pull_request and dict(state.pull_request),
            "lastRun": state.last_run and dict(state.last_run),
            "usage": state.usage and dict(state.usage),
        }
        self.put(**{key: value for key, value in reported.items() if value is not None})
        if state.started_at and not o.status.get("startedAt"):
            # A node's clock may be ahead, which must not lengthen the timeout.
            self.put(startedAt=rfc3339(min(state.started_at, o.now)))
        if state.is_over and state.log_tail:
            self.put(logTail=state.log_tail)
        if state.published is not None:
            done = state.published.reason in ("PullRequestOpened", "BranchPushed")
            nothing = state.published.reason == "NothingToPublish"
            self.condition(
                conditions.PUBLISHED,
                "True" if done or nothing else "False",
                state.published.reason,
                state.published.message,
            )
        return self.artifacts(state)

    def refused(self, state: AgentState) -> StatusDraft:
        """Set the condition of a failure that is not retried, with the agent's message."""
        failure = state.failure
        if failure is None:
            return self
        if failure.reason == "InvalidSpec":
            return self.condition(conditions.ACCEPTED, "False", failure.reason, failure.message)
        if failure.reason in ("PushRejected", "ForgeRefused"):
            return self.condition(conditions.PUBLISHED, "False", failure.reason, failure.message)
        return self

    def artifacts(self, state: AgentState) -> StatusDraft:
        """List the documents that the state carries, and the artifacts that are stored."""
        o = self._o
        collected = o.collected
        kept, too_large = collectable(state)
        listed = [
            {"name": a.name, "bytes": a.bytes, "sha256": a.sha256}
            for a in state.artifacts
            if a.name in OWN_DOCUMENTS or collected.get(a.name) == a.sha256
        ]
        self.put(artifacts=listed or None)
        if any(entry["name"] not in OWN_DOCUMENTS for entry in listed):
            self.put(artifactsConfigMap=o.children["ConfigMap"].name)
        missing = [a.name for a in kept if collected.get(a.name) != a.sha256]
        if state.rejected_artifacts:
            reasons = {r.reason for r in state.rejected_artifacts}
            reason = "Invalid" if "Invalid" in reasons else "TooLarge"
            message = "; ".join(f"{r.name}: {r.message}" for r in state.rejected_artifacts)
            self.condition(conditions.ARTIFACTS_COLLECTED, "False", reason, message)
        elif too_large:
            names = ", ".join(a.name for a in too_large)
            message = f"the artifacts exceed 256 KiB together; not stored: {names}"
            self.condition(conditions.ARTIFACTS_COLLECTED, "False", "TooLarge", message)
        elif missing and state.is_over and not has_more_to_collect(o, state):
            why = (o.agent.collect_error if o.agent else "") or "the pod is gone"
            message = f"not fetched: {', '.join(missing)}: {why}. Rerun the task if they matter"
            self.condition(conditions.ARTIFACTS_COLLECTED, "False", "Missing", message)
        elif not missing and (listed or state.is_over):
            names = ", ".join(str(entry["name"]) for entry in listed) or "the command wrote none"
            self.condition(conditions.ARTIFACTS_COLLECTED, "True", "Collected", names)
        return self

    def no_more_artifacts(self) -> StatusDraft:
        """Set ArtifactsCollected at the end of the run, if the agent never reported artifacts."""
        kind = conditions.ARTIFACTS_COLLECTED
        before = conditions.find(self._fields.get("conditions", ()), kind)
        is_known = before is not None and before.get("status") != "Unknown"
        if is_known or kind in self._wanted:
            return self
        if not self._o.status.get("start") and self._o.status.get("attempt", 0) <= 1:
            return self.condition(
                kind, "True", "Collected", "the command never started, so there are none"
            )
        message = "the pod was gone before it reported artifacts. Rerun the task if they matter"
        return self.condition(kind, "False", "Missing", message)


def first_status(o: Observed) -> dict[str, Any]:
    """The status of a run that has not begun; it keeps the history of earlier runs."""
    draft = StatusDraft(
        o.with_status(
            {
                "run": o.task.run,
                "attempt": 0,
                "start": 0,
                "phase": PENDING,
                "history": list(o.status.get("history", ())) or None,
                "conditions": o.status.get("conditions", ()),
            }
        )
    )
    for kind in conditions.TYPES:
        draft.condition(kind, "Unknown", PENDING)
    return draft.build()


def next_run_status(o: Observed, result: str) -> dict[str, Any]:
    """The next run's first status; the history gets the previous run and its `result`."""
    state = o.reported
    status = StatusDraft(o).agent(state).build() if state is not None else o.status
    entry = {
        "run": status["run"],
        "result": result,
        "attempts": status.get("attempt", 0),
        "starts": status.get("start", 0),
        "startedAt": status.get("startedAt"),
        "finishedAt": status.get("finishedAt") or rfc3339(o.now),
        "pullRequest": (status.get("pullRequest") or {}).get("url"),
        "branch": status.get("branch"),
        "usage": without_models(status.get("usage")),
    }
    history = [json_status(entry), *status.get("history", ())][:MAX_HISTORY]
    return first_status(o.with_status({**status, "history": history}))
