"""The words the two halves exchange: a Job and a Stop in, a Result out, each as JSON.

The shim trusts what the supervisor wrote; the supervisor checks every field of a Result.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from guildnet_agent.exchange import RESULT, ExchangeRefused

ContextKind = Literal["git", "text", "url", "configMap"]
_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\Z")


@dataclass(frozen=True, order=True, slots=True)
class StartId:
    """One pod taking up one attempt of one run; each counts from 1, all 0 while not started."""

    run: int = 0
    attempt: int = 0
    start: int = 0

    @property
    def folder(self) -> str:
        return f"{self.run}.{self.attempt}.{self.start}"

    def __str__(self) -> str:
        return f"run {self.run}, attempt {self.attempt}, start {self.start}"


NOT_STARTED = StartId()


@dataclass(frozen=True)
class JobContext:
    """A context as the shim needs it.

    ``commit`` is where a git context starts (also `START_REF` of its repository), ``branch`` what
    it is checked out as; None is a detached HEAD.
    """

    name: str
    kind: ContextKind
    commit: str | None = None
    branch: str | None = None
    url: str | None = None
    sparse: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """What the supervisor tells the shim to run.

    ``publish`` names the git context whose work is bundled. ``has_begun`` tells a shim that was
    restarted that this start's command ran already, whatever the command did to ``out/``.
    """

    id: StartId
    command: tuple[str, ...]
    prompt: str
    contexts: tuple[JobContext, ...]
    publish: str | None
    trailer: str
    author_name: str
    author_email: str
    has_begun: bool = False


@dataclass(frozen=True)
class Stop:
    """A start that is to end: its work is bundled, its result written."""

    id: StartId
    reason: str


@dataclass(frozen=True)
class Result:
    """How a start ended, as the work side says.

    ``exit_code`` is None when the command did not end by itself or never began; ``interrupted``:
    the container restarted under it; ``failure``: it could not even begin. ``tip`` is the commit
    of `WORK_REF` in the bundle, None without a bundle. Times are RFC 3339.
    """

    id: StartId
    exit_code: int | None = None
    stopped: bool = False
    interrupted: bool = False
    failure: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    tip: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)


def to_json(value: Job | Stop | Result) -> bytes:
    return json.dumps(asdict(value), ensure_ascii=False, indent=1).encode()


def parse_job(data: bytes) -> Job:
    """A Job the supervisor wrote; the shim trusts it."""
    raw = json.loads(data)
    contexts = tuple(
        JobContext(**{**item, "sparse": tuple(item["sparse"])}) for item in raw.pop("contexts")
    )
    return Job(
        **{
            **raw,
            "id": StartId(**raw["id"]),
            "command": tuple(raw["command"]),
            "contexts": contexts,
        }
    )


def parse_stop(data: bytes) -> Stop:
    raw = json.loads(data)
    return Stop(id=StartId(**raw["id"]), reason=str(raw["reason"]))


def parse_result(data: bytes, expected: StartId) -> Result:
    """A Result of the work side, every field checked; ExchangeRefused names the first bad one."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ExchangeRefused(f"{RESULT} is not JSON") from error
    if not isinstance(raw, dict) or raw.get("id") != asdict(expected):
        raise ExchangeRefused(f"{RESULT} is not of {expected}")
    code, tip = raw.get("exit_code"), raw.get("tip")
    if code is not None and (type(code) is not int or not -255 <= code <= 255):
        raise ExchangeRefused(f"{RESULT}: exit_code is not an exit code")
    if tip is not None and not (isinstance(tip, str) and _COMMIT.match(tip)):
        raise ExchangeRefused(f"{RESULT}: tip is not a commit id")
    usage = raw.get("usage")
    return Result(
        id=expected,
        exit_code=code,
        stopped=raw.get("stopped") is True,
        interrupted=raw.get("interrupted") is True,
        failure=_short(raw.get("failure"), 1000),
        started_at=_short(raw.get("started_at"), 40),
        finished_at=_short(raw.get("finished_at"), 40),
        tip=tip,
        usage=usage if isinstance(usage, dict) and len(json.dumps(usage)) <= 2048 else {},
    )


def _short(value: object, limit: int) -> str | None:
    return value[:limit] if isinstance(value, str) else None
