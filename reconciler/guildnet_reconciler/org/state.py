"""What an org's passes keep in memory between them. A restart finds all of it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush

from guildnet.record import OrgRecord
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.steps.guard import Hold, holds_in
from guildnet_reconciler.steps.load import Quarantined, quarantined_in


@dataclass
class Scope:
    """The tasks that a pass looks at; `full` is all of them.

    `since` is when the first of them was asked for (monotonic seconds). A pass that has looked at
    all of them sets `done`.
    """

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
class TaskFindings:
    """Tasks that are not as committed, and why. Only `TaskPass` adds to it."""

    quarantined: dict[str, Quarantined] = field(default_factory=dict)
    held: dict[str, Hold] = field(default_factory=dict)
    failed: dict[str, Fault] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    """Deletions that the guard has released and that are not finished. While there are any, no
    revision counts as applied, so that a restart finds their approval again."""

    def remember(self, record: OrgRecord) -> None:
        """Take over what an earlier process recorded."""
        self.quarantined |= quarantined_in(record)[1]
        self.held |= {hold.task: hold for hold in holds_in(record)}

    def forget_released(self) -> None:
        """The org left its location, and the guard's decisions were about that location."""
        self.released = set()

    @property
    def is_open(self) -> bool:
        """Whether any task is failed, held or quarantined."""
        return bool(self.quarantined or self.held or self.failed)


class Expiries:
    """When the TTL of finished AgentTasks ends."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str]] = []

    def add(self, when: datetime, task: str) -> None:
        heappush(self._heap, (when, task))

    @property
    def next(self) -> datetime | None:
        return self._heap[0][0] if self._heap else None

    def take(self, now: datetime) -> set[str]:
        """Remove and return the tasks whose TTL has ended."""
        expired: set[str] = set()
        while self._heap and self._heap[0][0] <= now:
            expired.add(heappop(self._heap)[1])
        return expired
