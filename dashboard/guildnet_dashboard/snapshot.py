"""Both branches at one pair of commits, as an immutable snapshot. Pure.

A snapshot can be limited to the orgs that its reader sees; whatever is built from it then names no
other org.

`Snapshot.with_changes` builds the next one and shares everything that did not change: the cost
follows the size of the change (I5), and readers of an older snapshot see a consistent state.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from guildnet.loading import parse_path, path_problem
from guildnet_dashboard.org_report import OrgReport, Problem
from guildnet_dashboard.states import State, TaskSummary

# The overview shows at most this many tasks of each state.
NEWEST = 8


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task: its record on the status branch, and the blob of its file on the source branch.

    `record` is None until the first report, `source` is None while the deletion of a removed task
    is not finished. `seen` is the status commit at which `record` was last read. `invalid` is the
    error in a file that never had a valid version; such a task has no record.
    """

    org: str
    name: str
    record: TaskSummary | None = None
    source: str | None = None
    seen: str = ""
    invalid: str = ""

    @property
    def state(self) -> State:
        if self.record:
            return self.record.state
        return State.INVALID if self.invalid else State.PENDING

    @property
    def updated(self) -> str:
        return self.record.updated if self.record else ""

    def newness(self) -> tuple[str, str, str]:
        """Sort key: the time of the last change, then the name."""
        return self.updated, self.org, self.name

    @property
    def reason(self) -> str:
        if self.record:
            return self.record.reason
        return "Quarantined" if self.invalid else "NotReported"

    @property
    def message(self) -> str:
        if self.record:
            return self.record.message
        return self.invalid or "Committed; the reconciler has not reported on it yet."


@dataclass(frozen=True)
class OrgView:
    """One org. `source` is the blob of its file, None if it has none.

    `removed` maps tasks that were removed from the source branch to the blob of their last record.
    """

    name: str
    source: str | None = None
    report: OrgReport | None = None
    tasks: Mapping[str, TaskRow] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[State, int] = field(default_factory=dict)
    stuck: frozenset[str] = frozenset()

    @cached_property
    def newest(self) -> Mapping[State, tuple[TaskRow, ...]]:
        """The most recently changed tasks of each state, newest first, at most NEWEST each."""
        by_state: dict[State, list[TaskRow]] = {state: [] for state in self.counts}
        for row in self.tasks.values():
            by_state[row.state].append(row)
        return {
            state: tuple(heapq.nlargest(NEWEST, rows, key=TaskRow.newness))
            for state, rows in by_state.items()
        }

    @property
    def is_empty(self) -> bool:
        return not (self.source or self.report or self.tasks or self.removed)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The content of one changed path of the status branch.

    At most one of `record`, `report` and `removed` is set; none is if the path was deleted.
    """

    org: str
    task: str | None
    record: TaskSummary | None = None
    report: OrgReport | None = None
    removed: str | None = None
    in_removed: bool = False


@dataclass(frozen=True)
class Snapshot:
    """`status` and `source` are commit ids, "" if the branch does not exist."""

    status: str = ""
    source: str = ""
    orgs: Mapping[str, OrgView] = field(default_factory=dict)
    visible: frozenset[str] | None = None
    """The orgs that this snapshot is limited to, None for all of them."""

    def limited_to(self, visible: frozenset[str] | None) -> Snapshot:
        """The same commits with nothing of other orgs."""
        if visible is None:
            return self
        orgs = {name: org for name, org in self.orgs.items() if name in visible}
        return replace(self, orgs=orgs, visible=visible)

    @property
    def revision(self) -> str:
        """A string that changes whenever the content changes."""
        return f"{self.status[:16] or 'none'}-{self.source[:16] or 'none'}"

    def with_changes(
        self,
        *,
        status: str,
        source: str,
        reported: Iterable[StatusChange],
        committed: Iterable[tuple[str, str | None]],
    ) -> Snapshot:
        """Build the snapshot at `status` and `source` from the changes on each branch.

        `committed` lists (path, blob or None) of the source branch.
        """
        builder = _SnapshotBuilder(self.orgs)
        for change in reported:
            builder.apply_status(change, status)
        for path, blob in committed:
            builder.apply_source(path, blob)
        return replace(self, status=status, source=source, orgs=builder.build())


class _SnapshotBuilder:
    """Copies an org only when its first change is applied."""

    def __init__(self, orgs: Mapping[str, OrgView]) -> None:
        self._orgs = orgs
        self._builders: dict[str, _OrgBuilder] = {}

    def _org(self, name: str) -> _OrgBuilder:
        if name not in self._builders:
            self._builders[name] = _OrgBuilder(self._orgs.get(name) or OrgView(name))
        return self._builders[name]

    def apply_status(self, change: StatusChange, commit: str) -> None:
        org = self._org(change.org)
        if change.task is None:
            org.reported = change.report
        elif change.in_removed:
            org.set_removed(change.task, change.removed)
        else:
            org.set_row(change.task, record=change.record, seen=commit)

    def apply_source(self, path: str, blob: str | None) -> None:
        identity = parse_path(path)
        if identity is None or path_problem(path) is not None:
            return
        org = self._org(identity.org)
        if identity.task is None:
            org.source = blob
        else:
            org.set_source(identity.task, blob)

    def build(self) -> Mapping[str, OrgView]:
        if not self._builders:
            return self._orgs
        orgs = dict(self._orgs)
        for name, builder in self._builders.items():
            view = builder.build()
            if view.is_empty:
                orgs.pop(name, None)
            else:
                orgs[name] = view
        return dict(sorted(orgs.items()))


class _OrgBuilder:
    def __init__(self, org: OrgView) -> None:
        self._name = org.name
        self.source = org.source
        self.reported = org.report
        self._tasks = dict(org.tasks)
        self._removed = dict(org.removed)
        self._counts = dict(org.counts)
        self._stuck = set(org.stuck)
        self._invalid = dict(org.report.invalid) if org.report else {}

    def set_row(self, task: str, *, record: TaskSummary | None, seen: str) -> None:
        before = self._tasks.get(task) or TaskRow(self._name, task)
        self._put(replace(before, record=record, seen=seen if record else ""))

    def set_source(self, task: str, blob: str | None) -> None:
        self._put(replace(self._tasks.get(task) or TaskRow(self._name, task), source=blob))

    def set_removed(self, task: str, blob: str | None) -> None:
        self._removed.pop(task, None)
        if blob is not None:
            self._removed[task] = blob

    def _put(self, row: TaskRow) -> None:
        before = self._tasks.pop(row.name, None)
        if before is not None:
            self._counts[before.state] -= 1
        self._stuck.discard(row.name)
        if row.record is None and row.source is None:
            return
        self._tasks[row.name] = row
        self._counts[row.state] = self._counts.get(row.state, 0) + 1
        if row.state in (State.STALLED, State.UNREADABLE):
            self._stuck.add(row.name)

    def _mark_invalid(self) -> None:
        """Copy the errors of invalid files from the org's report to the tasks."""
        wanted = self.reported.invalid if self.reported else {}
        for name in self._invalid.keys() | wanted.keys():
            row = self._tasks.get(name)
            if row is not None and row.invalid != wanted.get(name, ""):
                self._put(replace(row, invalid=wanted.get(name, "")))

    def build(self) -> OrgView:
        self._mark_invalid()
        return OrgView(
            self._name,
            self.source,
            self.reported,
            self._tasks,
            self._removed,
            {state: count for state, count in self._counts.items() if count},
            frozenset(self._stuck),
        )


def problems_of(org: OrgView) -> list[Problem]:
    """Everything in an org that needs a person, the org's own report first."""
    found = list(org.report.problems) if org.report else []
    missing = org.source is None and any(row.source for row in org.tasks.values())
    if missing and not any(problem.reason == "OrgMissing" for problem in found):
        found.append(_missing_org(org))
    for name in sorted(org.stuck):
        row = org.tasks[name]
        place = f"task {org.name}/{name}"
        reason = row.reason or "Stalled"
        found.append(Problem("task", org.name, place, reason, row.message, "", name))
    return found


def _missing_org(org: OrgView) -> Problem:
    count = sum(1 for row in org.tasks.values() if row.source)
    tasks = "1 task is" if count == 1 else f"{count} tasks are"
    return Problem(
        "org",
        org.name,
        f"tasks/{org.name}/",
        "OrgMissing",
        f"{tasks} committed for an org without a file",
        f"Commit orgs/{org.name}.yaml, or delete the folder.",
    )
