"""The messages between supervisor and shim, as JSON: Job and Stop in, Result out.

The shim trusts the supervisor's files; the supervisor checks every field of a Result.
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

    ``commit`` is the start of a git context (also `START_REF` of its repository), ``branch`` the
    branch to check out; None is a detached HEAD. ``checkpoint`` is `CHECKPOINT_REF` of its
    repository: the content of a lost workspace, on top of ``commit``. It is not used if the
    workspace still exists.
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
    """The model gateway as the command sees it. ``key`` is valid only for the gateway and start."""

    protocols: tuple[str, ...]
    base_url: str
    name: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class JobVerify:
    """A command that the agent's work must pass. ``rounds``: how often its failure is handed back
    to the agent."""

    command: tuple[str, ...]
    rounds: int


@dataclass(frozen=True)
class Job:
    """The command that the shim runs, and its contexts.

    ``publish`` names the git context whose work is bundled. ``has_begun`` shows a restarted shim
    that this start's command has already run, even if the command deleted ``begun.json``.
    ``command`` is empty if the preset has its own.
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
    verify: JobVerify | None = None


@dataclass(frozen=True)
class Stop:
    """A request to end a start: its work is bundled and its result written."""

    id: StartId
    reason: str


@dataclass(frozen=True)
class Result:
    """How a start ended, as the work container reports it.

    ``exit_code``: None if the command did not exit by itself, or never began. ``interrupted``: the
    container restarted while the command ran. ``failure``: why the command could not begin.
    ``unbundled``: why its work could not be bundled. ``tip``: the commit of `WORK_REF` in the
    bundle, None without a bundle. ``base``: the commit that the work builds on, if that is not the
    job's, because the workspace is of an earlier start. ``notes``: remarks for people about the
    work. ``outcome``: how the agent itself reports its end, read by its preset. Times are RFC 3339.
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
    """Parse a Job; the supervisor wrote it, so it is trusted."""
    raw = json.loads(data)
    contexts = tuple(
        JobContext(**{**item, "sparse": tuple(item["sparse"])}) for item in raw.pop("contexts")
    )
    model = raw.pop("model", None)
    verify = raw.pop("verify", None)
    return Job(
        **{
            **raw,
            "model": JobModel(**{**model, "protocols": tuple(model["protocols"])})
            if model
            else None,
            "verify": JobVerify(tuple(verify["command"]), verify["rounds"]) if verify else None,
            "id": StartId(**raw["id"]),
            "command": tuple(raw["command"]),
            "contexts": contexts,
        }
    )


def parse_stop(data: bytes) -> Stop:
    raw = json.loads(data)
    return Stop(id=StartId(**raw["id"]), reason=str(raw["reason"]))


def parse_result(data: bytes, expected: StartId) -> Result:
    """Parse a Result and check every field; ExchangeRefused names the first invalid one."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ExchangeRefused(f"{RESULT} is not JSON") from error
    if not isinstance(raw, dict) or raw.get("id") != asdict(expected):
        raise ExchangeRefused(f"{RESULT} is not for {expected}")
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
    """Cut a string, and replace lone surrogates, which JSON can contain but UTF-8 cannot."""
    if not isinstance(value, str):
        return None
    return value[:limit].encode(errors="replace").decode()
