"""What a preset is: the parts that the shim needs to run a coding agent unattended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

OutcomeKind = Literal[
    "success", "model_error", "refused", "limit", "incomplete", "failed", "unverified"
]
OUTCOME_KINDS: tuple[OutcomeKind, ...] = get_args(OutcomeKind)

MAX_TURNS = 500
"""Of agents that can limit themselves: it ends an agent that runs in circles."""


@dataclass(frozen=True)
class ModelAccess:
    """``base_url`` is the gateway's root, without a version; ``key`` is valid for this start."""

    protocol: str
    base_url: str
    name: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Places:
    """``state`` is a folder of this run and preset on the workspace volume, outside of every
    checkout; ``session`` names the run in at most 63 characters."""

    home: Path
    state: Path
    prompt_file: Path
    session: str


@dataclass(frozen=True)
class Invocation:
    """What to start. ``files`` are written before, with their folders; ``folders`` are made.

    ``stdin`` is None where the program gets an empty standard input.
    """

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    stdin: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How the agent itself says it ended; ``unverified``: its work does not pass the task's
    ``verify``. ``message`` is for people."""

    kind: OutcomeKind
    message: str = ""

    @property
    def is_success(self) -> bool:
        return self.kind == "success"


class Transcript(Protocol):
    """Follows one run of an agent by its output."""

    def read(self, line: str) -> Sequence[str]:
        """The lines for people that one line of output becomes; it may be none."""

    def outcome(self, exit_code: int) -> Outcome:
        """What the output and the exit code say together."""


class Preset(Protocol):
    """A way to call one agent. ``programs`` are looked up on PATH before the start; the first of
    ``protocols`` that the endpoint speaks is used. Without protocols it needs no model."""

    @property
    def name(self) -> str: ...
    @property
    def programs(self) -> tuple[str, ...]: ...
    @property
    def protocols(self) -> tuple[str, ...]: ...

    def has_session(self, places: Places) -> bool:
        """Whether an earlier start of this run left a session to go on with."""

    def invoke(
        self,
        command: Sequence[str],
        model: ModelAccess | None,
        places: Places,
        *,
        resume: bool,
        prompt: str,
    ) -> Invocation:
        """``resume``: go on with the session; then ``prompt`` says no more than that."""

    def transcript(self) -> Transcript: ...


def continue_prompt(task_file: Path) -> str:
    """The prompt of a resumed session, whose conversation already contains the task."""
    return (
        "You were interrupted: the container you worked in was restarted. Your files are as you "
        "left them. Go on with the task where you stopped. Should you not know the task, read "
        f"{task_file}.\n"
    )


#: Without telemetry, update checks and downloads behind the task's back; some agents clone
#: plugins over https otherwise, and hang where the network drops packets.
QUIET: Mapping[str, str] = {
    "GIT_ALLOW_PROTOCOL": "file",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
}


def choose_protocol(wanted: Sequence[str], offered: Sequence[str]) -> str | None:
    """The first protocol of the preset that the endpoint speaks."""
    return next((protocol for protocol in wanted if protocol in offered), None)


def has_files(folder: Path, pattern: str) -> bool:
    """Whether a regular file below the folder matches."""
    return any(path.is_file() for path in folder.glob(pattern))
