"""The words the two halves exchange: a Job and a Stop in, a Result out, each as JSON.

The shim trusts what the supervisor wrote; the supervisor checks every field of a Result.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Literal

from guildnet.agent_api.state import StartId
from guildnet_agent.exchange import RESULT, ExchangeRefused
from guildnet_agent.presets.preset import OUTCOME_KINDS, Outcome

ContextKind = Literal["git", "text", "url", "configMap"]
MAX_NOTES = 4
MAX_NOTE_CHARACTERS = 300
_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\Z")


@dataclass(frozen=True)
class JobContext:
    """A context as the shim needs it.

    ``commit`` is where a git context starts (also `START_REF` of its repository), ``branch`` what
    it is checked out as; None is a detached HEAD. ``checkpoint`` is `CHECKPOINT_REF` of its
    repository: what a lost workspace held, on ``commit``; a workspace that is there needs it not.
    """

    name: str
    kind: ContextKind
    commit: str | None = None
    branch: str | None = None
    url: str | None = None
    sparse: tuple[str, ...] = ()
    checkpoint: str | None = None


@dataclass(frozen=True)
class JobModel:
    """The model gateway as the command sees it. ``key`` is the gateway's own, for this start."""

    protocols: tuple[str, ...]
    base_url: str
    name: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Job:
    """What the supervisor tells the shim to run.

    ``publish`` names the git context whose work is bundled. ``has_begun`` tells a shim that was
    restarted that this start's command ran already, whatever the command did to ``out/``.
    ``command`` is empty where the preset has its own.
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
    preset: str = "shell"
    model: JobModel | None = None


@dataclass(frozen=True)
class Stop:
    """A start that is to end: its work is bundled, its result written."""

    id: StartId
    reason: str


@dataclass(frozen=True)
class Result:
    """How a start ended, as the work side says.

    ``exit_code`` is None when the command did not end by itself or never began; ``interrupted``:
    the container restarted under it; ``failure``: it could not even begin; ``unbundled``: why its
    work could not be made into a bundle. ``tip`` is the commit
    of `WORK_REF` in the bundle, None without a bundle; ``base`` the commit that the work goes on
    from, where that is not the job's: a kept workspace is of an earlier start. ``notes`` are what
    a person should know of the work. ``outcome`` is how the agent itself says it ended, as its
    preset reads it. Times are RFC 3339.
    """

    id: StartId
    exit_code: int | None = None
    stopped: bool = False
    interrupted: bool = False
    failure: str | None = None
    unbundled: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    tip: str | None = None
    base: str | None = None
    notes: tuple[str, ...] = ()
    outcome: Outcome | None = None


def to_json(value: Job | Stop | Result) -> bytes:
    return json.dumps(asdict(value), ensure_ascii=False, indent=1).encode()


def parse_job(data: bytes) -> Job:
    """A Job the supervisor wrote; the shim trusts it."""
    raw = json.loads(data)
    contexts = tuple(
        JobContext(**{**item, "sparse": tuple(item["sparse"])}) for item in raw.pop("contexts")
    )
    model = raw.pop("model", None)
    return Job(
        **{
            **raw,
            "model": JobModel(**{**model, "protocols": tuple(model["protocols"])})
            if model
            else None,
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
    code, tip, base = raw.get("exit_code"), raw.get("tip"), raw.get("base")
    if code is not None and (type(code) is not int or not -255 <= code <= 255):
        raise ExchangeRefused(f"{RESULT}: exit_code is not an exit code")
    for name, commit in (("tip", tip), ("base", base)):
        if commit is not None and not (isinstance(commit, str) and _COMMIT.match(commit)):
            raise ExchangeRefused(f"{RESULT}: {name} is not a commit id")
    notes = raw.get("notes")
    return Result(
        id=expected,
        exit_code=code,
        stopped=raw.get("stopped") is True,
        interrupted=raw.get("interrupted") is True,
        failure=_short(raw.get("failure"), 1000),
        unbundled=_short(raw.get("unbundled"), 1000),
        started_at=_short(raw.get("started_at"), 40),
        finished_at=_short(raw.get("finished_at"), 40),
        tip=tip,
        base=base,
        notes=_short_list(notes if isinstance(notes, list) else []),
        outcome=_parse_outcome(raw.get("outcome")),
    )


def _parse_outcome(value: object) -> Outcome | None:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind not in OUTCOME_KINDS:
        return None
    return Outcome(kind, _short(value.get("message"), 1000) or "")


def _short_list(values: list[object]) -> tuple[str, ...]:
    shortened = (_short(value, MAX_NOTE_CHARACTERS) for value in values[:MAX_NOTES])
    return tuple(value for value in shortened if value)


def _short(value: object, limit: int) -> str | None:
    """A text, cut; half a surrogate pair, which JSON can carry and UTF-8 cannot, is replaced."""
    if not isinstance(value, str):
        return None
    return value[:limit].encode(errors="replace").decode()
