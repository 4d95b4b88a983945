"""What the agent API says of the agent: one value, its JSON, and who waits for it to change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from guildnet.digest import canonical_json, sha256_hex
from guildnet_agent.job import NOT_STARTED, StartId

MAX_STATE_BYTES = 64 * 1024
MAX_TAIL_BYTES = 4 * 1024
_MAX_MESSAGE_CHARACTERS = 1500

Step = Literal["Waiting", "Preparing", "Running", "Publishing", "Finished", "Stopped"]
Outcome = Literal["Succeeded", "Failed", "Stopped"]
ContextState = Literal["Pending", "Ready", "Failed"]
PublishedReason = Literal[
    "PullRequestOpened",
    "BranchPushed",
    "NothingToPublish",
    "PushRejected",
    "ForgeRefused",
    "Retrying",
]


@dataclass(frozen=True)
class Failure:
    """Why an attempt or a start failed; ``infrastructure``: it costs a start, not an attempt."""

    reason: str
    message: str
    infrastructure: bool = False


@dataclass(frozen=True)
class ContextProgress:
    name: str
    state: ContextState = "Pending"
    message: str = ""


@dataclass(frozen=True)
class Published:
    reason: PublishedReason
    message: str


@dataclass(frozen=True)
class StoredArtifact:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class RejectedArtifact:
    name: str
    reason: Literal["Invalid", "TooLarge"]
    message: str


@dataclass(frozen=True)
class AgentState:
    """One state of the agent; times are RFC 3339, paths and messages redacted."""

    id: StartId = NOT_STARTED
    step: Step = "Waiting"
    outcome: Outcome | None = None
    failure: Failure | None = None
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    contexts: tuple[ContextProgress, ...] = ()
    branch: str | None = None
    commit: str | None = None
    published: Published | None = None
    pull_request: Mapping[str, Any] | None = None
    last_run: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    artifacts: tuple[StoredArtifact, ...] = ()
    rejected_artifacts: tuple[RejectedArtifact, ...] = ()
    editor_serving: bool = False
    log_tail: str = ""

    @property
    def is_over(self) -> bool:
        """Nothing more happens by itself."""
        return self.step in ("Waiting", "Finished", "Stopped")

    def to_json(self) -> dict[str, Any]:
        """The shape of ``GET /state``, at most 64 KiB."""
        value = self._to_json()
        if len(canonical_json(value)) > MAX_STATE_BYTES:
            value = replace(self, log_tail="", rejected_artifacts=())._to_json()
        return value

    def _to_json(self) -> dict[str, Any]:
        return {
            "run": self.id.run,
            "attempt": self.id.attempt,
            "start": self.id.start,
            "step": self.step,
            "outcome": self.outcome,
            "failure": _with_short_message(self.failure),
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            "exitCode": self.exit_code,
            "contexts": [_with_short_message(context) for context in self.contexts],
            "branch": self.branch,
            "commit": self.commit,
            "published": _with_short_message(self.published),
            "pullRequest": self.pull_request,
            "lastRun": self.last_run,
            "usage": self.usage,
            "artifacts": [asdict(artifact) for artifact in self.artifacts],
            "rejectedArtifacts": [_with_short_message(item) for item in self.rejected_artifacts],
            "editor": {"serving": self.editor_serving},
            "logTail": self.log_tail,
        }


def _with_short_message(
    value: Failure | ContextProgress | Published | RejectedArtifact | None,
) -> dict[str, Any] | None:
    if value is None:
        return None
    return {**asdict(value), "message": value.message[:_MAX_MESSAGE_CHARACTERS]}


class StateBoard:
    """The current state; everything that waits for a change of it waits here."""

    def __init__(self) -> None:
        self._state = AgentState()
        self._changed = asyncio.Event()
        self._body = canonical_json(self._state.to_json())

    @property
    def state(self) -> AgentState:
        return self._state

    @property
    def body(self) -> bytes:
        """The state's JSON: the same state gives the same bytes."""
        return self._body

    @property
    def etag(self) -> str:
        return f'"{sha256_hex(self._body)[:32]}"'

    def show(self, state: AgentState) -> None:
        self._state = state
        body = canonical_json(state.to_json())
        if body != self._body:
            self._body = body
            self._changed.set()
            self._changed = asyncio.Event()

    def change(self, **fields: Any) -> None:
        """`show` the current state with these fields replaced."""
        self.show(replace(self._state, **fields))

    async def wait_for_other(self, etag: str | None, seconds: float) -> bool:
        """Whether the state is, or within ``seconds`` becomes, another than ``etag``."""
        try:
            async with asyncio.timeout(seconds):
                while self.etag == etag:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True
