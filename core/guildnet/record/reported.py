"""Checks an AgentTask from a cluster and reduces its status to what the schema allows. Pure.

Whoever may write the status in the cluster, or answers in the API server's place, chooses what
stands in it. Its names become paths and its texts become records that others read, so each field
is checked, and cut to its length, before anything else sees it (I9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guildnet.agent_api.artifacts import MAX_ARTIFACTS, OWN_DOCUMENTS, is_artifact_name
from guildnet.agent_api.state import MAX_MESH_ADDRESSES
from guildnet.digest import canonical_json
from guildnet.names import is_name
from guildnet.record.usage import checked_usage

MAX_CONDITIONS = 16
MAX_LISTED_ARTIFACTS = MAX_ARTIFACTS + len(OWN_DOCUMENTS)
MAX_HISTORY_ENTRIES = 10
MAX_LAST_RUN_BYTES = 64 * 1024
MAX_DEPTH = 32
_LARGEST = 2**53
_SHA256_CHARS = 64

# Lengths in characters, those of status.json. A value of another kind is dropped.
_TEXTS = {
    "phase": 64,
    "admittedAt": 64,
    "yieldedAt": 64,
    "startedAt": 64,
    "finishedAt": 64,
    "pod": 253,
    "node": 253,
    "step": 32,
    "branch": 255,
    "commit": 64,
    "artifactsConfigMap": 253,
    "logTail": 16384,
}
_NUMBERS = ("observedGeneration", "run", "attempt", "start", "lostStarts")
_PULL_REQUEST = {
    "url": 2048,
    "provider": 32,
    "repository": 512,
    "state": 32,
    "branch": 255,
    "base": 255,
    "commit": 64,
    "title": 256,
    "createdAt": 64,
}
_EDITOR = {"service": 253, "secret": 253}
_MESH = {"name": 253, "id": 64}
_CONDITION = {
    "type": 64,
    "status": 16,
    "reason": 128,
    "message": 4096,
    "lastTransitionTime": 64,
}
_HISTORY = {
    "digest": 128,
    "result": 64,
    "startedAt": 64,
    "finishedAt": 64,
    "pullRequest": 2048,
    "branch": 255,
}


def reported(agent_task: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(the AgentTask with a checked status, messages about dropped fields).

    Raises ValueError for an object that the reconciler cannot have created.
    """
    meta, spec = agent_task.get("metadata"), agent_task.get("spec", {})
    if not isinstance(meta, Mapping) or not is_name(meta.get("name")):
        raise ValueError("its name is not a lower-case DNS label of at most 50 characters")
    if not isinstance(spec, Mapping):
        raise ValueError("its spec is not an object")
    for key in ("uid", "resourceVersion"):
        if not isinstance(meta.get(key), str) or not 0 < len(meta[key]) <= 128:
            raise ValueError(f"its {key} is missing or not a short text")
    problems: list[str] = []
    return {**agent_task, "metadata": _metadata(meta), "spec": spec} | {
        "status": _status(agent_task.get("status"), problems)
    }, problems


def _metadata(meta: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {**meta, "finalizers": [f for f in _list(meta.get("finalizers")) if _is_text(f, 253)]}
    for key in ("annotations", "labels"):
        given = meta.get(key)
        pairs = given.items() if isinstance(given, Mapping) else ()
        fixed[key] = {k: v for k, v in pairs if isinstance(k, str) and isinstance(v, str)}
    fixed["managedFields"] = [e for e in _list(meta.get("managedFields")) if isinstance(e, Mapping)]
    for key in ("creationTimestamp", "deletionTimestamp"):
        if not _is_text(meta.get(key), 64):
            fixed.pop(key, None)
    return fixed


def _status(value: Any, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    status: dict[str, Any] = _texts(value, _TEXTS) | _numbers(value, _NUMBERS)
    if isinstance(value.get("pullRequest"), Mapping):
        pull = value["pullRequest"]
        status["pullRequest"] = _texts(pull, _PULL_REQUEST) | _numbers(pull, ("number",))
    if isinstance(value.get("editor"), Mapping):
        status["editor"] = _editor(value["editor"])
    usage = checked_usage(value.get("usage"))
    if usage is not None:
        status["usage"] = usage
    status["conditions"] = _conditions(value.get("conditions"))
    status["artifacts"] = _artifacts(value.get("artifacts"), problems)
    status["history"] = _history(value.get("history"))
    last_run = value.get("lastRun")
    if isinstance(last_run, Mapping) and last_run:
        if _is_small(last_run):
            status["lastRun"] = last_run
        else:
            problems.append("status.lastRun is too large or nested too deeply")
    return status


def _editor(value: Mapping[str, Any]) -> dict[str, Any]:
    editor: dict[str, Any] = _texts(value, _EDITOR) | _numbers(value, ("port",))
    if isinstance(value.get("mesh"), Mapping):
        peer: dict[str, Any] = _texts(value["mesh"], _MESH)
        found = [entry for entry in _list(value["mesh"].get("addresses")) if _is_text(entry, 64)]
        editor["mesh"] = {**peer, "addresses": found[:MAX_MESH_ADDRESSES]}
    return editor


def _conditions(value: Any) -> list[dict[str, Any]]:
    found = [
        _texts(entry, _CONDITION) | _numbers(entry, ("observedGeneration",))
        for entry in _entries(value, MAX_CONDITIONS)
    ]
    return [entry for entry in found if entry.keys() >= {"type", "status", "reason"}]


def _artifacts(value: Any, problems: list[str]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for entry in _entries(value, MAX_LISTED_ARTIFACTS):
        artifact = _numbers(entry, ("bytes",)) | _texts(entry, {"sha256": _SHA256_CHARS})
        if not is_artifact_name(entry.get("name")):
            problems.append("status.artifacts: a name is not [a-z0-9_]{1,50}.json")
        elif len(artifact) == 2:
            kept.append({"name": entry["name"], **artifact})
    return kept


def _history(value: Any) -> list[dict[str, Any]]:
    found = [_history_entry(entry) for entry in _entries(value, MAX_HISTORY_ENTRIES)]
    return [entry for entry in found if "run" in entry]


def _history_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    usage = checked_usage(entry.get("usage"))
    kept = _texts(entry, _HISTORY) | _numbers(entry, ("run", "attempts", "starts"))
    return kept if usage is None else {**kept, "usage": usage}


def _texts(value: Mapping[str, Any], lengths: Mapping[str, int]) -> dict[str, Any]:
    return {
        key: value[key][:length]
        for key, length in lengths.items()
        if isinstance(value.get(key), str)
    }


def _numbers(value: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value[key] for key in keys if _is_count(value.get(key))}


def _entries(value: Any, at_most: int) -> list[Mapping[str, Any]]:
    return [entry for entry in _list(value)[:at_most] if isinstance(entry, Mapping)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _is_small(value: Any) -> bool:
    if is_deeper(value, MAX_DEPTH):
        return False
    try:
        return len(canonical_json(value)) <= MAX_LAST_RUN_BYTES
    except (TypeError, ValueError):
        return False


def is_deeper(value: Any, levels: int) -> bool:
    """Whether JSON is nested more than `levels` deep. Inspects no more levels than that."""
    level = [value]
    for _ in range(levels + 1):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
