"""Which AgentTasks run: at most `maxActive` agents at once, highest priority first, then oldest.

Finished, suspended, stalled and not yet accepted AgentTasks take no slot. `admissions` is pure;
`SlotTable` keeps its last answer, so that one change does not sort the whole queue again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

_SHOWN_POSITIONS = 10


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unfinished AgentTask that could run; `active`: it holds a slot already.

    `since`: when it was created, or when it last released its slot.
    """

    name: str
    priority: int
    since: datetime
    active: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an AgentTask is `admitted` to a slot; if not, its position (from 1) among the
    `waiting`."""

    admitted: bool
    position: int = 0
    max_active: int = 0
    waiting: int = 0

    @property
    def message(self) -> str:
        """The position in the queue, exact only near its head: otherwise the end of each run
        would rewrite the status of every waiting task."""
        length = str(self.waiting)
        if self.waiting > _SHOWN_POSITIONS:
            length = f"more than {_SHOWN_POSITIONS}"
        position = f"{_ordinal(self.position)} of {length}"
        if self.position > _SHOWN_POSITIONS:
            position = f"behind at least {_SHOWN_POSITIONS} others"
        return f"{position} in the queue; limits.maxActive is {self.max_active}"


def _ordinal(number: int) -> str:
    tens = number % 100 // 10
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if tens != 1 else "th"
    return f"{number}{ending}"


NOT_QUEUED = Admission(True)


def admissions(candidates: Iterable[Candidate], max_active: int) -> Mapping[str, Admission]:
    """Each candidate's admission. Active ones keep their slots even if `max_active` is lowered."""
    everyone = list(candidates)
    active = [c for c in everyone if c.active]
    waiting = sorted(
        (c for c in everyone if not c.active), key=lambda c: (-c.priority, c.since, c.name)
    )
    free = max(0, max_active - len(active))
    length = len(waiting[free:])
    admitted = Admission(True, max_active=max_active, waiting=length)
    result = {c.name: admitted for c in (*active, *waiting[:free])}
    for position, candidate in enumerate(waiting[free:], start=1):
        result[candidate.name] = Admission(False, position, max_active, length)
    return result


class SlotTable:
    """Every candidate's admission; `on_change` gets the names whose admission has changed."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._candidates: dict[str, Candidate] = {}
        self._admissions: Mapping[str, Admission] = {}
        self._max_active = 0
        self._is_current = True
        self._changed: deque[str] = deque()

    def put(self, name: str, candidate: Candidate | None) -> None:
        """Record an AgentTask's present state; None if it neither runs nor waits."""
        if self._candidates.get(name) == candidate:
            return
        if candidate is None:
            del self._candidates[name]
        else:
            self._candidates[name] = candidate
        self._is_current = False

    def admission(self, name: str, max_active: int) -> Admission:
        """An AgentTask's admission; one that is not a candidate counts as admitted."""
        if not self._is_current or max_active != self._max_active:
            self._rearrange(max_active)
        while self._changed:
            self._on_change(self._changed[0])
            self._changed.popleft()
        return self._admissions.get(name, NOT_QUEUED)

    def _rearrange(self, max_active: int) -> None:
        """All or nothing: after an error the table is as before, and is rearranged next time."""
        after = admissions(self._candidates.values(), max_active)
        changed = [
            name
            for name, admission in after.items()
            if (old := self._admissions.get(name)) is None or _shown(old) != _shown(admission)
        ]
        self._changed.extend(changed)
        self._admissions, self._max_active, self._is_current = after, max_active, True

    @property
    def active(self) -> int:
        """How many hold a slot."""
        return sum(candidate.active for candidate in self._candidates.values())

    @property
    def waiting(self) -> int:
        """How many wait for a slot, including those admitted but not yet started."""
        return len(self._candidates) - self.active


def _shown(admission: Admission) -> tuple[bool, str]:
    return admission.admitted, "" if admission.admitted else admission.message
