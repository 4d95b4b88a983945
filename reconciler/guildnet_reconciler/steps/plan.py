"""Step 5, plan: desired against observed. Pure: no client, no clock, no file.

A `Situation` holds the facts about one task, an `Entry` what to do about it. Every decision about
what runs, and what never runs again (I7), is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from guildnet import labels
from guildnet.errors import InvalidResource, Problem
from guildnet.merge import RunRef, agent_task
from guildnet.record import KnownRun, Removed, wanted_run
from guildnet.resources import Org, Task
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.steps.differences import differing
from guildnet_reconciler.steps.observe import OWN_ANNOTATIONS, ObservedTask

MAX_FIELDS = 8

Action = Literal["create", "update", "delete", "expire", "forget", "block"]
"""delete: left the source branch. expire: its TTL ended. forget: left the source branch and has
no AgentTask, so only its record moves. block: needs doing, and may not be done."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one task.

    `file` is None when the task is not in the source tree. `recorded_blob` is the file that its
    record was made from. `task` is its resource (the last good one where the file is bad); None
    when no good version is known or the file needed no loading.
    """

    name: str
    file: SourceFile | None = None
    task: Task | None = None
    observed: ObservedTask | None = None
    recorded: KnownRun | None = None
    recorded_uid: str | None = None
    recorded_blob: str | None = None
    removed: Removed | None = None
    continues: str | None = None
    dependencies_succeeded: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to do. `object` is what to apply; `fields` what differs; `run` the run meant."""

    action: Action
    task: str
    reason: str
    message: str = ""
    run: int = 0
    object: Mapping[str, Any] | None = None
    fields: tuple[str, ...] = ()
    observed: ObservedTask | None = None

    @property
    def drifted(self) -> bool:
        return self.reason in ("Drift", "Missing")


@dataclass(frozen=True)
class Changeset:
    """The plan: `restored` are tasks that came back with a finished run, `problems` are files whose
    merged result is invalid."""

    entries: tuple[Entry, ...] = ()
    unchanged: frozenset[str] = frozenset()
    restored: tuple[Removed, ...] = ()
    problems: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)

    def having(self, *actions: Action) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.action in actions)


def needs_loading(org: Org, situation: Situation) -> bool:
    """Whether the file must be read, because the digests alone do not decide what to do."""
    file, observed, known = situation.file, situation.observed, situation.recorded
    if file is None:
        return False
    if observed is None and known is not None and known.result is not None:
        return file.blob != situation.recorded_blob  # finished, and made from this file
    if observed is None or known is None or known.run != observed.run:
        return True
    finished = known.result is not None
    dependencies = not observed.depends_on or (
        observed.dependencies_succeeded or not situation.dependencies_succeeded
    )
    return not (
        observed.owned
        and observed.source_blob == file.blob
        and observed.source_path == file.path
        and observed.run_digest == known.digest
        and not observed.is_tampered
        and observed.is_guarded
        and (finished or observed.defaults_digest == org.defaults_digest)
        and (finished or dependencies)
    )


def plan(org: Org, situations: Iterable[Situation], now: datetime) -> Changeset:
    """What to do about each task; `now` decides only whose TTL has ended."""
    entries: list[Entry] = []
    unchanged: set[str] = set()
    restored: list[Removed] = []
    problems: dict[str, tuple[Problem, ...]] = {}
    for situation in situations:
        try:
            entry = _entry(org, situation, now)
        except InvalidResource as error:
            problems[situation.name] = error.problems
            continue
        if entry is None:
            unchanged.add(situation.name)
            if _is_restored(situation):
                assert situation.removed is not None
                restored.append(situation.removed)
        else:
            entries.append(entry)
    return Changeset(tuple(entries), frozenset(unchanged), tuple(restored), problems)


def _is_restored(situation: Situation) -> bool:
    """Whether a task came back with the digest of its last run, which is finished."""
    removed, task = situation.removed, situation.task
    return (
        removed is not None
        and task is not None
        and situation.recorded is None
        and removed.result is not None
        and removed.digest == task.run_digest
    )


def _entry(org: Org, situation: Situation, now: datetime) -> Entry | None:
    observed = situation.observed
    if observed is not None and not _is_ours(observed, situation.recorded_uid):
        if situation.file is None and situation.recorded is None:
            return None  # not ours, and not in git
        return _not_owned(org, situation, observed)
    if situation.file is None:
        return _gone(situation)
    if observed is not None and observed.deleting is not None:
        return None  # planned again when it is gone
    if _is_expired(situation, now):
        return Entry("expire", situation.name, "Expired", observed=observed)
    if situation.task is None:
        return None
    return _wanted(org, situation, situation.task)


def _is_ours(observed: ObservedTask, recorded_uid: str | None) -> bool:
    return observed.owned or observed.uid == recorded_uid


def _not_owned(org: Org, situation: Situation, observed: ObservedTask) -> Entry:
    message = (
        f"an AgentTask of this name in namespace {org.cluster.namespace} lacks the label "
        f"{labels.MANAGED_BY}={labels.RECONCILER}: delete or rename it, or set that label"
    )
    return Entry("block", situation.name, "NotOwned", message, observed=observed)


def _gone(situation: Situation) -> Entry | None:
    """The task is not in the source tree."""
    observed = situation.observed
    if observed is None:
        if situation.recorded is None:
            return None
        return Entry("forget", situation.name, "SourceRemoved", run=situation.recorded.run)
    if observed.deleting is not None:
        return None
    return Entry("delete", situation.name, "SourceRemoved", run=observed.run, observed=observed)


def _is_expired(situation: Situation, now: datetime) -> bool:
    """Whether the TTL of a recorded, finished run has ended and git asks for no newer run."""
    observed, known = situation.observed, situation.recorded
    if observed is None or known is None or observed.expires_at is None:
        return False
    if situation.task is not None and situation.task.run_digest != known.digest:
        return False
    recorded = known.run == observed.run and known.result is not None
    return recorded and observed.expires_at <= now


def _wanted(org: Org, situation: Situation, task: Task) -> Entry | None:
    observed = situation.observed
    live = (observed.run, observed.run_digest) if observed and observed.run else None
    if live is not None and is_renumbered(observed, situation.recorded):
        live = None
    run = wanted_run(task.run_digest, situation.recorded, situation.removed, live)
    if observed is None and run.finished:
        return None
    same_run = observed is not None and observed.run == run.number
    obj = agent_task(org, task, _run_ref(situation, run.number, same_run=same_run))
    if observed is None:
        reason = "New" if situation.recorded is None and situation.removed is None else "NewRun"
        if situation.recorded is not None and situation.recorded.run == run.number:
            reason = "Missing"
        return Entry("create", task.name, reason, run=run.number, object=obj)
    return _difference(situation, observed, obj, run.number, finished=run.finished)


def is_renumbered(observed: ObservedTask | None, known: KnownRun | None) -> bool:
    """Whether the run's number was changed in the cluster; the record has the right one."""
    return (
        observed is not None
        and known is not None
        and observed.is_tampered
        and observed.run != known.run
        and observed.run_digest == known.digest
    )


def _run_ref(situation: Situation, number: int, *, same_run: bool) -> RunRef:
    """What was decided for a run stays so: its branch, and that its dependencies were met."""
    observed = situation.observed
    if same_run and observed is not None:
        met = observed.dependencies_succeeded or situation.dependencies_succeeded
        return RunRef(number, observed.continues, met)
    return RunRef(number, situation.continues, situation.dependencies_succeeded)


def _difference(
    situation: Situation,
    observed: ObservedTask,
    obj: Mapping[str, Any],
    run: int,
    *,
    finished: bool,
) -> Entry | None:
    wanted = obj["metadata"]["annotations"]
    have = {
        labels.SOURCE_PATH: observed.source_path,
        labels.SOURCE_BLOB: observed.source_blob,
        labels.SPEC_DIGEST: observed.spec_digest,
        labels.DEFAULTS_DIGEST: observed.defaults_digest,
        labels.RUN_DIGEST: observed.run_digest,
    }
    tampered = observed.is_tampered or not observed.is_guarded
    fields = tuple(key for key in OWN_ANNOTATIONS if have[key] != wanted[key])
    if finished and not tampered and set(fields) <= {labels.DEFAULTS_DIGEST, labels.SPEC_DIGEST}:
        return None  # new defaults do not change a finished run
    if not fields and not tampered and observed.owned:
        return None
    reason, message = _why(observed, obj, run, fields, tampered=tampered)
    return Entry(
        "update", situation.name, reason, message, run, object=obj, fields=fields, observed=observed
    )


def _why(
    observed: ObservedTask,
    obj: Mapping[str, Any],
    run: int,
    fields: tuple[str, ...],
    *,
    tampered: bool,
) -> tuple[str, str]:
    if run > observed.run:
        return "NewRun", f"run {observed.run} -> {run}"
    if labels.SOURCE_BLOB in fields:
        return "Edited", ""
    if tampered or not observed.owned:
        who = ", ".join(observed.others) or "an unknown field manager"
        return "Drift", f"{_what_drifted(observed, obj)} changed by {who}; git wins"
    if labels.DEFAULTS_DIGEST in fields:
        return "DefaultsChanged", ""
    if obj["spec"].get("dependenciesSucceeded") and not observed.dependencies_succeeded:
        return "DependenciesSucceeded", ""
    return "Drift", "our annotations were changed in the cluster; git wins"


def _what_drifted(observed: ObservedTask, obj: Mapping[str, Any]) -> str:
    if not observed.is_guarded:
        return "our finalizer was"
    changes = differing(obj["spec"], observed.found or obj["spec"])
    if not changes:
        return "our labels were"
    paths = ", ".join(change.path for change in changes[:MAX_FIELDS])
    more = len(changes) - MAX_FIELDS
    return (
        f"{paths}{f' and {more} more' if more > 0 else ''} {'was' if len(changes) == 1 else 'were'}"
    )
