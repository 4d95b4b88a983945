"""What one org's passes remember between them; all of it can be found again elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop
from typing import Any

from guildnet.resources import Org
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.steps.guard import Hold
from guildnet_reconciler.steps.load import Quarantined


@dataclass
class Scope:
    """Which tasks a pass is to look at; `full` is all of them. `since` is when the first of it was
    asked for (monotonic seconds); `done` is set by the pass that has looked at all of it."""

    full: bool = False
    org_file: bool = False
    tasks: set[str] = field(default_factory=set)
    since: float | None = None
    done: bool = False

    def __bool__(self) -> bool:
        return self.full or self.org_file or bool(self.tasks)

    def cover(self, names: frozenset[str] | None) -> None:
        """Look at these tasks too; None is all of them."""
        self.full |= names is None
        self.tasks |= names or set()

    def add(self, other: Scope) -> None:
        self.full |= other.full
        self.org_file |= other.org_file
        self.tasks |= other.tasks
        if other.since is not None:
            self.since = other.since if self.since is None else min(self.since, other.since)


@dataclass
class OrgState:
    """The open set (failed, held, quarantined) and what was found out on the way."""

    name: str
    org: Org | None = None
    org_quarantine: Quarantined | None = None
    quarantined: dict[str, Quarantined] = field(default_factory=dict)
    going: set[str] = field(default_factory=set)
    """Tasks that left the source branch and that the guard has let go: not asked about again, and
    until they are gone nothing counts as applied, so that what released them is found again."""
    held: dict[str, Hold] = field(default_factory=dict)
    org_hold: Hold | None = None
    failed: dict[str, Fault] = field(default_factory=dict)
    unrecorded: dict[str, Fault] = field(default_factory=dict)
    """What of a task could not be recorded, until more of it is."""
    refused: tuple[Fault, ...] = ()
    """What the cluster reported and what was not taken of it, or could not be written."""
    defects: tuple[Fault, ...] = ()
    """Parts of the org's work that failed by a defect of ours."""
    fault: Fault | None = None
    trouble: Fault | None = None
    """Why the last pass was cut short by the API server; told as a fault if the next one is too."""
    repository_faults: tuple[Fault, ...] = ()
    misplaced: tuple[Fault, ...] = ()
    """The org's own files that are where no resource can be."""
    orphans: int = 0
    """Tasks of an org that has no file."""
    key: tuple[str | None, str | None, str] | None = None
    attempted: str | None = None
    applied: str | None = None
    namespace_uid: str | None = None
    claimed: dict[str, str] | None = None
    """The data of the ConfigMap as last seen or written."""
    outage: dict[str, Any] | None = None
    """What was told when the cluster stopped answering: one outage has many errors, and the first
    stays, so that it is told once."""
    awaiting_artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """AgentTasks whose artifacts are still to be fetched before they are recorded."""
    expiries: list[tuple[datetime, str]] = field(default_factory=list)
    """A heap of when finished AgentTasks expire."""

    @property
    def is_open(self) -> bool:
        """Whether anything is failed, held or quarantined."""
        return bool(
            self.org_quarantine
            or self.quarantined
            or self.held
            or self.org_hold
            or self.failed
            or self.unrecorded
            or self.refused
            or self.defects
            or self.fault
            or self.orphans
        )

    def take_expired(self, now: datetime) -> set[str]:
        """Tasks whose TTL has ended, taken off the heap."""
        expired: set[str] = set()
        while self.expiries and self.expiries[0][0] <= now:
            expired.add(heappop(self.expiries)[1])
        return expired
