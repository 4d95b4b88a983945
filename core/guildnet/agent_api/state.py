"""The state that the agent reports, its JSON, and the bounds that both sides keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from guildnet.agent_api.artifacts import OWN_DOCUMENTS, Artifact, RejectedArtifact
from guildnet.digest import canonical_json
from guildnet.units import rfc3339

MAX_STATE_BYTES = 64 * 1024
MAX_LOG_TAIL_BYTES = 4 * 1024
MAX_MESSAGE_CHARACTERS = 1024
MAX_CONTEXT_MESSAGE_CHARACTERS = 500
MAX_REJECTION_CHARACTERS = 200
MAX_MESH_MESSAGE_CHARACTERS = 500
MAX_MESH_ADDRESSES = 4
MAX_CONTEXTS = 16

Step = Literal["Waiting", "Preparing", "Running", "Publishing", "Finished", "Stopped"]
Outcome = Literal["Succeeded", "Failed", "Stopped"]
StopReason = Literal["Cancelled", "Suspended", "DeadlineExceeded", "Superseded"]
ContextState = Literal["Pending", "Ready", "Failed"]
PublishedReason = Literal[
    "PullRequestOpened",
    "BranchPushed",
    "NothingToPublish",
    "PushRejected",
    "ForgeRefused",
    "Retrying",
]


@dataclass(frozen=True, order=True, slots=True)
class StartId:
    """One pod's try at one attempt of one run. Each counts from 1; all are 0 before any start."""

    run: int = 0
    attempt: int = 0
    start: int = 0

    @property
    def folder(self) -> str:
        """The start's folder in the exchange."""
        return f"{self.run}.{self.attempt}.{self.start}"

    def __str__(self) -> str:
        return f"run {self.run}, attempt {self.attempt}, start {self.start}"


NOT_STARTED = StartId()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt or a start failed; ``infrastructure``: it costs a start, not an attempt."""

    reason: str
    message: str
    infrastructure: bool = False


@dataclass(frozen=True, slots=True)
class ContextProgress:
    """How far one context is; ``state`` is a `ContextState`."""

    name: str
    state: str = "Pending"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """What became of the work; ``reason`` is a `PublishedReason`."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class MeshPeer:
    """The agent's peer on the org's mesh, as its tailscaled reports it.

    ``state`` is tailscaled's own, such as Running or NeedsLogin, or Unreachable if tailscaled does
    not answer. ``id`` is the control server's. ``name`` is the one that the control server gave.
    ``message``: what is wrong.
    """

    state: str
    id: str = ""
    name: str = ""
    addresses: tuple[str, ...] = ()
    message: str = ""

    @property
    def is_running(self) -> bool:
        return self.state == "Running"


@dataclass(frozen=True)
class AgentState:
    """One answer of ``GET /state``; run, attempt and start are 0 before any start.

    The agent redacts paths and messages.
    """

    run: int = 0
    attempt: int = 0
    start: int = 0
    step: Step = "Waiting"
    outcome: Outcome | None = None
    failure: Failure | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    contexts: tuple[ContextProgress, ...] = ()
    branch: str | None = None
    commit: str | None = None
    published: Published | None = None
    pull_request: Mapping[str, Any] | None = None
    last_run: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()
    rejected_artifacts: tuple[RejectedArtifact, ...] = ()
    editor_serving: bool = False
    mesh: MeshPeer | None = None
    log_tail: str = ""

    @property
    def id(self) -> StartId:
        return StartId(self.run, self.attempt, self.start)

    @property
    def triple(self) -> tuple[int, int, int]:
        return self.run, self.attempt, self.start

    @property
    def is_over(self) -> bool:
        """Whether the start has ended."""
        return self.step in ("Finished", "Stopped")

    @property
    def bodies(self) -> tuple[Artifact, ...]:
        """The artifacts to fetch: all but the documents that the state itself carries."""
        return tuple(a for a in self.artifacts if a.name not in OWN_DOCUMENTS)

    def to_json(self) -> dict[str, Any]:
        """The body of ``GET /state``, at most 64 KiB."""
        value = self._to_json()
        if len(canonical_json(value)) > MAX_STATE_BYTES:
            value = replace(self, log_tail="", rejected_artifacts=())._to_json()
        return value

    def _to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "attempt": self.attempt,
            "start": self.start,
            "step": self.step,
            "outcome": self.outcome,
            "failure": _shortened(self.failure, MAX_MESSAGE_CHARACTERS),
            "startedAt": _time(self.started_at),
            "finishedAt": _time(self.finished_at),
            "exitCode": self.exit_code,
            "contexts": [_shortened(c, MAX_CONTEXT_MESSAGE_CHARACTERS) for c in self.contexts],
            "branch": self.branch,
            "commit": self.commit,
            "published": _shortened(self.published, MAX_MESSAGE_CHARACTERS),
            "pullRequest": self.pull_request,
            "lastRun": self.last_run,
            "usage": self.usage,
            "artifacts": [asdict(artifact) for artifact in self.artifacts],
            "rejectedArtifacts": [
                _shortened(item, MAX_REJECTION_CHARACTERS) for item in self.rejected_artifacts
            ],
            "editor": {"serving": self.editor_serving},
            "mesh": _shortened(self.mesh, MAX_MESH_MESSAGE_CHARACTERS),
            "logTail": self.log_tail,
        }


def _shortened(
    value: Failure | ContextProgress | Published | RejectedArtifact | MeshPeer | None,
    max_characters: int,
) -> dict[str, Any] | None:
    if value is None:
        return None
    return {**asdict(value), "message": value.message[:max_characters]}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
