"""What an agent says of itself, read without trust: bounded, typed, cut to what status takes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from guildnet.errors import AgentAnswerRejected
from guildnet.text import clean_text
from guildnet.units import parse_time

MAX_STATE_BYTES = 64 * 1024
MAX_ARTIFACTS = 16
MAX_ARTIFACT_BYTES = 256 * 1024  # all bodies together
MAX_DOCUMENT_BYTES = 4 * 1024  # last_pr.json and last_run.json, each
MAX_LOG_TAIL = 4 * 1024
_MAX_DEPTH = 32  # of last_run.json: what readers and writers of JSON take without a thought
ARTIFACT_NAME = re.compile(r"[a-z0-9_]{1,50}\.json\Z")
OWN_DOCUMENTS = ("last_pr.json", "last_run.json")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_MAX_MESSAGE = 1024
_YEARS = range(2000, 2100)  # so that no sum with a duration leaves what a datetime can hold

Step = Literal["Waiting", "Preparing", "Running", "Publishing", "Finished", "Stopped"]
Outcome = Literal["Succeeded", "Failed", "Stopped"]

_PULL_REQUEST_FIELDS: Mapping[str, tuple[type, int]] = {
    "url": (str, 2048),
    "provider": (str, 32),
    "repository": (str, 512),
    "number": (int, 0),
    "state": (str, 32),
    "branch": (str, 255),
    "base": (str, 255),
    "commit": (str, 64),
    "title": (str, 256),
    "createdAt": (str, 64),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason and its message; `infrastructure`: it costs a start, not an attempt."""

    reason: str
    message: str
    infrastructure: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class AgentState:
    """One answer of `GET /state`; (0, 0, 0) while nothing was started."""

    run: int = 0
    attempt: int = 0
    start: int = 0
    step: Step = "Waiting"
    outcome: Outcome | None = None
    failure: Reason | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    contexts: tuple[Reason, ...] = ()
    branch: str | None = None
    commit: str | None = None
    published: Reason | None = None
    pull_request: Mapping[str, Any] | None = None
    last_run: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()
    rejected: tuple[Reason, ...] = ()
    log_tail: str = ""

    @property
    def triple(self) -> tuple[int, int, int]:
        return self.run, self.attempt, self.start

    @property
    def is_over(self) -> bool:
        return self.step in ("Finished", "Stopped")

    @property
    def bodies(self) -> tuple[Artifact, ...]:
        """The artifacts to fetch: not the two documents that the state itself carries."""
        return tuple(a for a in self.artifacts if a.name not in OWN_DOCUMENTS)


def parse_state(data: bytes) -> AgentState:
    """Raises AgentAnswerRejected for anything that is not the agreed shape (I9)."""
    if len(data) > MAX_STATE_BYTES:
        raise AgentAnswerRejected("the agent's state is larger than 64 KiB")
    try:
        return _state(json.loads(data, parse_constant=_no_number, parse_float=_finite))
    except (
        ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError,
    ) as error:  # fmt: skip
        message = clean_text(f"the agent's state is malformed: {error!r}", 300)
        raise AgentAnswerRejected(message) from error


def _state(raw: Mapping[str, Any]) -> AgentState:
    failure = raw.get("failure")
    published = raw.get("published")
    return AgentState(
        run=_count(raw["run"]),
        attempt=_count(raw["attempt"]),
        start=_count(raw["start"]),
        step=_one_of(raw["step"], get_args(Step)),
        outcome=None if raw["outcome"] is None else _one_of(raw["outcome"], get_args(Outcome)),
        failure=failure and _reason(failure, infrastructure=bool(failure.get("infrastructure"))),
        started_at=_time(raw.get("startedAt")),
        finished_at=_time(raw.get("finishedAt")),
        exit_code=_exit_code(raw.get("exitCode")),
        contexts=tuple(
            Reason(_text(c["state"], 32), f"{_text(c['name'], 50)}: {_text(c['message'], 500)}")
            for c in raw.get("contexts", ())[:16]
        ),
        branch=_optional(raw.get("branch"), 255),
        commit=_optional(raw.get("commit"), 64),
        published=published and _reason(published),
        pull_request=_pull_request(raw.get("pullRequest")),
        last_run=_document(raw.get("lastRun")),
        usage=_usage(raw.get("usage")),
        artifacts=_artifacts(raw.get("artifacts", ())),
        rejected=tuple(
            Reason(_text(r["reason"], 32), f"{_text(r['name'], 64)}: {_text(r['message'], 200)}")
            for r in raw.get("rejectedArtifacts", ())[:MAX_ARTIFACTS]
        ),
        log_tail=_tail(raw.get("logTail", "")),
    )


def _artifacts(raw: Any) -> tuple[Artifact, ...]:
    """At most 16 and the two own documents, sorted by name; one bad entry rejects the answer."""
    found = {}
    for entry in raw:
        name, digest, size = entry["name"], entry["sha256"], _count(entry["bytes"])
        if not ARTIFACT_NAME.match(name) or not _SHA256.match(digest):
            raise ValueError("an artifact's name or digest")
        found[name] = Artifact(name, size, digest)
    own = [found.pop(name) for name in OWN_DOCUMENTS if name in found]
    others = sorted(found.values(), key=lambda a: a.name)[:MAX_ARTIFACTS]
    return tuple(sorted((*own, *others), key=lambda a: a.name))


def _pull_request(raw: Any) -> Mapping[str, Any] | None:
    if raw is None:
        return None
    kept: dict[str, Any] = {}
    for name, (kind, longest) in _PULL_REQUEST_FIELDS.items():
        value = raw.get(name)
        if value is None:
            continue
        kept[name] = _text(value, longest) if kind is str else _count(value)
    return kept


def _document(raw: Any) -> Mapping[str, Any] | None:
    if raw is None:
        return None
    if not isinstance(raw, dict) or len(json.dumps(raw)) > MAX_DOCUMENT_BYTES:
        raise ValueError("last_run.json is not an object of at most 4 KiB")
    cleaned: Mapping[str, Any] = _cleaned(raw, _MAX_DEPTH)
    return cleaned


def _cleaned(value: Any, depth: int) -> Any:
    """JSON that the API server stores as it is: bounded in depth, its texts and numbers in what
    the server takes."""
    if depth == 0:
        raise ValueError("last_run.json is nested too deep")
    if isinstance(value, str):
        return clean_text(value, MAX_DOCUMENT_BYTES)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number is too large")
    if isinstance(value, list):
        return [_cleaned(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {
            clean_text(key, MAX_DOCUMENT_BYTES): _cleaned(item, depth - 1)
            for key, item in value.items()
        }
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _exit_code(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise ValueError("not an exit code")
    return value


_AMOUNTS = ("requests", "inputTokens", "cachedInputTokens", "outputTokens")
_MAX_MODELS = 16


def _usage(raw: Any) -> Mapping[str, Any] | None:
    """What the run used of its model: in total, and by model."""
    if raw is None:
        return None
    models = raw["models"]
    if not isinstance(models, dict) or len(models) > _MAX_MODELS:
        raise ValueError("usage.models is not an object of at most 16 models")
    by_model = {_text(name, 128): _amount(amount) for name, amount in models.items()}
    return {**_amount(raw), "models": by_model}


def _amount(raw: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: _large_count(raw[name]) for name in _AMOUNTS}
    if raw.get("unreported"):
        numbers["unreported"] = _large_count(raw["unreported"])
    cost = raw.get("costUsd")
    if cost is None:
        return numbers
    if type(cost) not in (int, float) or not 0 <= cost < 10**9:
        raise ValueError("usage.costUsd is not an amount of money")
    # An API server writes 3.0 as 3; so do we, or every look would see a difference.
    return {**numbers, "costUsd": int(cost) if cost == int(cost) else round(cost, 6)}


def _large_count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("not a count")
    return value


def _reason(raw: Mapping[str, Any], *, infrastructure: bool = False) -> Reason:
    return Reason(_text(raw["reason"], 64), _text(raw["message"], _MAX_MESSAGE), infrastructure)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError("not a count")
    return value


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError("an unknown word")
    return value


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return clean_text(value, longest)


def _optional(value: Any, longest: int) -> str | None:
    return None if value is None else _text(value, longest)


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    moment = parse_time(_text(value, 64))
    if moment.year not in _YEARS:
        raise ValueError("not a time of this century")
    return moment


def _tail(value: Any) -> str:
    """The last 4 KiB; the end of a log says why, not its beginning."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    lines = value[-MAX_LOG_TAIL:].replace("\r\n", "\n").replace("\r", "\n")  # progress, redrawn
    last = clean_text(lines, MAX_LOG_TAIL).encode()[-MAX_LOG_TAIL:]
    return last.decode("utf-8", "ignore")
