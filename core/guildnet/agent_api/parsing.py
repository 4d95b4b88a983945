"""Reads an agent's state without trusting it: every field is checked and bounded.

The command shares the agent's pod, so even a signed answer contains untrusted text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any, get_args

from guildnet.agent_api.artifacts import (
    MAX_ARTIFACTS,
    MAX_DOCUMENT_BYTES,
    OWN_DOCUMENTS,
    Artifact,
    RejectedArtifact,
    is_artifact_name,
)
from guildnet.agent_api.state import (
    MAX_CONTEXT_MESSAGE_CHARACTERS,
    MAX_CONTEXTS,
    MAX_LOG_TAIL_BYTES,
    MAX_MESH_ADDRESSES,
    MAX_MESH_MESSAGE_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_REJECTION_CHARACTERS,
    MAX_STATE_BYTES,
    AgentState,
    ContextProgress,
    Failure,
    MeshPeer,
    Outcome,
    Published,
    Step,
)
from guildnet.errors import AgentAnswerRejected
from guildnet.text import clean_text
from guildnet.units import parse_time

_MAX_DEPTH = 32  # of last_run.json: any reader and writer of JSON takes as much
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_YEARS = range(2000, 2100)  # a duration can be added without leaving what a datetime can hold

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


def parse_state(data: bytes) -> AgentState:
    """Return the state in the body of an answer. AgentAnswerRejected for any other shape (I9)."""
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
    mesh = raw.get("mesh")
    return AgentState(
        run=_count(raw["run"]),
        attempt=_count(raw["attempt"]),
        start=_count(raw["start"]),
        step=_one_of(raw["step"], get_args(Step)),
        outcome=None if raw["outcome"] is None else _one_of(raw["outcome"], get_args(Outcome)),
        failure=None if failure is None else _failure(failure),
        started_at=_time(raw.get("startedAt")),
        finished_at=_time(raw.get("finishedAt")),
        exit_code=_exit_code(raw.get("exitCode")),
        contexts=tuple(_context(entry) for entry in raw.get("contexts", ())[:MAX_CONTEXTS]),
        branch=_optional(raw.get("branch"), 255),
        commit=_optional(raw.get("commit"), 64),
        published=None if published is None else _published(published),
        pull_request=_pull_request(raw.get("pullRequest")),
        last_run=_document(raw.get("lastRun")),
        usage=_usage(raw.get("usage")),
        artifacts=_artifacts(raw.get("artifacts", ())),
        rejected_artifacts=tuple(
            _rejected(entry) for entry in raw.get("rejectedArtifacts", ())[:MAX_ARTIFACTS]
        ),
        editor_serving=raw.get("editor", {}).get("serving") is True,
        mesh=None if mesh is None else _mesh(mesh),
        log_tail=_tail(raw.get("logTail", "")),
    )


def _artifacts(raw: Any) -> tuple[Artifact, ...]:
    """At most 16 and the two own documents, sorted by name; one bad entry rejects the answer."""
    found = {}
    for entry in raw:
        name, digest, size = entry["name"], entry["sha256"], _count(entry["bytes"])
        if not is_artifact_name(name) or not _SHA256.match(digest):
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


def _failure(raw: Mapping[str, Any]) -> Failure:
    message = _text(raw["message"], MAX_MESSAGE_CHARACTERS)
    return Failure(_text(raw["reason"], 64), message, bool(raw.get("infrastructure")))


def _published(raw: Mapping[str, Any]) -> Published:
    return Published(_text(raw["reason"], 64), _text(raw["message"], MAX_MESSAGE_CHARACTERS))


def _context(raw: Mapping[str, Any]) -> ContextProgress:
    state = _text(raw["state"], 32)
    message = _text(raw["message"], MAX_CONTEXT_MESSAGE_CHARACTERS)
    return ContextProgress(_text(raw["name"], 50), state, message)


def _mesh(raw: Mapping[str, Any]) -> MeshPeer:
    addresses = raw["addresses"]
    if not isinstance(addresses, list):
        raise TypeError("not a list")
    return MeshPeer(
        state=_text(raw["state"], 32),
        id=_text(raw["id"], 64),
        name=_text(raw["name"], 253),
        addresses=tuple(str(ip_address(text)) for text in addresses[:MAX_MESH_ADDRESSES]),
        message=_text(raw["message"], MAX_MESH_MESSAGE_CHARACTERS),
    )


def _rejected(raw: Mapping[str, Any]) -> RejectedArtifact:
    reason = _text(raw["reason"], 32)
    message = _text(raw["message"], MAX_REJECTION_CHARACTERS)
    return RejectedArtifact(_text(raw["name"], 64), reason, message)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError("not a count")
    return value


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError("an unknown value")
    return value


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
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
    """The last 4 KiB; the end of a log shows why the command failed."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    # A progress display ends its lines with a carriage return only.
    lines = value[-MAX_LOG_TAIL_BYTES:].replace("\r\n", "\n").replace("\r", "\n")
    last = clean_text(lines, MAX_LOG_TAIL_BYTES).encode()[-MAX_LOG_TAIL_BYTES:]
    return last.decode("utf-8", "ignore")
