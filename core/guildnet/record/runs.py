"""Records of runs: updated from observed AgentTasks, and numbered. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from guildnet import conditions, labels
from guildnet.record.files import Removed, TaskRecord
from guildnet.record.usage import Usage, added, larger, run_usage, without_models

MAX_HISTORY = 10


class KnownRun(Protocol):
    """A recorded run: `result` is None until it has finished."""

    @property
    def run(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def result(self) -> str | None: ...


def record_of(
    agent_task: Mapping[str, Any], org: str, previous: TaskRecord | None
) -> TaskRecord | None:
    """The record after an observed AgentTask; None when the AgentTask is older than `previous`.

    A finished run never becomes unfinished (I7). Only a later run replaces it. A later observation
    of the same run (its editor has stopped) keeps its result, pull request and artifacts.
    """
    meta, spec = agent_task["metadata"], agent_task["spec"]
    status = agent_task.get("status", {})
    run = int(spec["run"])
    current: Mapping[str, Any] = status if status.get("run") == run else {}
    if previous is not None and run < previous.run:
        return None
    if previous is not None and run == previous.run and previous.finished:
        return _after_the_end(previous, meta.get("uid"), current)
    succeeded = conditions.find(current.get("conditions", ()), conditions.SUCCEEDED)
    finished = conditions.is_finished(current, run)
    usage, earlier_usage = _usage(previous, run, meta.get("uid"), current)
    return TaskRecord(
        org=org,
        task=meta["name"],
        run=run,
        digest=meta["annotations"][labels.RUN_DIGEST],
        result=str(succeeded["reason"]) if finished and succeeded else None,
        message=str(succeeded.get("message", "")) if finished and succeeded else "",
        phase=current.get("phase", "Pending"),
        attempt=current.get("attempt", 0),
        start=current.get("start", 0),
        usage=usage,
        earlier_usage=earlier_usage,
        created_at=meta.get("creationTimestamp"),
        started_at=current.get("startedAt"),
        finished_at=current.get("finishedAt"),
        branch=current.get("branch"),
        commit=current.get("commit"),
        pull_request=current.get("pullRequest"),
        editor=current.get("editor"),
        pod=current.get("pod"),
        node=current.get("node"),
        uid=meta.get("uid"),
        source_revision=meta["annotations"].get(labels.SOURCE_REVISION),
        source_blob=meta["annotations"].get(labels.SOURCE_BLOB),
        conditions=tuple(current.get("conditions", ())),
        artifacts=tuple(current.get("artifacts", ())),
        history=_history(previous, run, meta.get("uid"), status),
    )


def _after_the_end(
    previous: TaskRecord, uid: str | None, current: Mapping[str, Any]
) -> TaskRecord | None:
    if not conditions.is_finished(current, previous.run):
        return None
    is_same = previous.uid == uid
    usage = _usage(previous, previous.run, uid, current)[0] if is_same else previous.usage
    return replace(
        previous,
        usage=usage,
        phase=current.get("phase", previous.phase),
        pull_request=current.get("pullRequest") or previous.pull_request,
        artifacts=tuple(current.get("artifacts", ())) or previous.artifacts,
        editor=current.get("editor"),
        pod=current.get("pod"),
        node=current.get("node"),
        conditions=tuple(
            condition
            if condition.get("type") != conditions.SUCCEEDED
            else conditions.find(previous.conditions, conditions.SUCCEEDED) or condition
            for condition in current.get("conditions", ())
        ),
    )


def _usage(
    previous: TaskRecord | None, run: int, uid: str | None, current: Mapping[str, Any]
) -> tuple[Usage | None, Usage | None]:
    """(what the run has used, the part of it that earlier AgentTasks of the run used).

    An AgentTask reports a growing count, which a new one of the same run starts from zero.
    """
    reported = run_usage(current)
    if previous is None or previous.run != run:
        return reported, None
    if previous.uid != uid:
        return added(previous.usage, reported), previous.usage
    if reported is None:
        return previous.usage, previous.earlier_usage
    total = added(previous.earlier_usage, reported)
    return larger(previous.usage, total), previous.earlier_usage


def _history(
    previous: TaskRecord | None, run: int, uid: str | None, status: Mapping[str, Any]
) -> tuple[Mapping[str, Any], ...]:
    """Earlier runs, newest first: from the record, and those that only the cluster knows."""
    known: dict[int, Mapping[str, Any]] = {e["run"]: e for e in status.get("history", ())}
    if previous is not None:
        known |= {int(entry["run"]): entry for entry in previous.history}
        if previous.run < run and (previous.finished or previous.run not in known):
            known[previous.run] = history_entry(previous)
        elif previous.run < run:
            entry = known[previous.run]
            usage = without_models(_usage(previous, previous.run, uid, entry)[0])
            known[previous.run] = entry if usage is None else {**entry, "usage": usage}
    return tuple(known[number] for number in sorted(known, reverse=True) if number < run)[
        :MAX_HISTORY
    ]


def history_entry(record: TaskRecord) -> dict[str, Any]:
    """The entry of a run in the history of later runs."""
    entry = {
        "run": record.run,
        "digest": record.digest,
        "result": record.result or "Superseded",
        "attempts": record.attempt,
        "starts": record.start,
        "startedAt": record.started_at,
        "finishedAt": record.finished_at,
        "pullRequest": (record.pull_request or {}).get("url"),
        "branch": record.branch,
        "usage": without_models(record.usage),
    }
    return {key: value for key, value in entry.items() if value not in (None, 0)}


@dataclass(frozen=True, slots=True)
class Run:
    """The run that a task's file asks for, and whether its result is already recorded."""

    number: int
    finished: bool


def wanted_run(
    run_digest: str,
    record: KnownRun | None,
    removed: KnownRun | None,
    live: tuple[int, str] | None,
) -> Run:
    """The run of a digest: the latest known run if its digest is equal, else the next number.

    `live` is (run, digest) of the AgentTask in the cluster. Only the latest run is compared, so
    that the digests A, B, A are three runs.
    """
    known: list[tuple[int, str, bool]] = []
    if record is not None:
        known.append((record.run, record.digest, record.result is not None))
    if removed is not None:
        known.append((removed.run, removed.digest, removed.result is not None))
    if live is not None:
        known.append((*live, False))
    if not known:
        return Run(1, False)
    latest = max(run for run, _, _ in known)
    same = [(d, f) for run, d, f in known if run == latest]
    if any(d == run_digest for d, _ in same):
        return Run(latest, any(f for _, f in same))
    return Run(latest + 1, False)


def restored(removed: Removed) -> TaskRecord:
    """The record of a task that was added again with the digest of its last run."""
    return TaskRecord(
        removed.org,
        removed.task,
        removed.run,
        removed.digest,
        result=removed.result,
        attempt=removed.attempt,
        start=removed.start,
        usage=removed.usage,
        history=removed.history,
    )


def superseded(record: TaskRecord, result: str) -> TaskRecord:
    """`record` finished with `result`, for a run that cannot finish any more."""
    return record if record.finished else replace(record, result=result)
