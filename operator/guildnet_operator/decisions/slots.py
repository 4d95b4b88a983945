"""Whose turn it is: at most `maxActive` agents at once, highest priority first, then oldest.

A finished, suspended, stalled or not yet accepted AgentTask takes no place. `places` is pure; the
`Board` remembers its last answer, so that the cost of one change is not the whole line's each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

_SHOWN_POSITIONS = 10


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unfinished AgentTask that could work; `active`: it holds a place already.

    `since`: when it was made, or when it gave its place back.
    """

    name: str
    priority: int
    since: datetime
    active: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A place among the active, or a position (from 1) among the `waiting` in line."""

    admitted: bool
    position: int = 0
    max_active: int = 0
    waiting: int = 0

    @property
    def message(self) -> str:
        """Far positions and a long line's length are not told: each change of them would rewrite
        every waiting status."""
        length = str(self.waiting)
        if self.waiting > _SHOWN_POSITIONS:
            length = f"more than {_SHOWN_POSITIONS}"
        line = f"{_ordinal(self.position)} of {length}"
        if self.position > _SHOWN_POSITIONS:
            line = f"behind {_SHOWN_POSITIONS} others or more"
        return f"{line}, maxActive {self.max_active}"


def _ordinal(number: int) -> str:
    tens = number % 100 // 10
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if tens != 1 else "th"
    return f"{number}{ending}"


OUTSIDE = Place(True)


def places(candidates: Iterable[Candidate], max_active: int) -> Mapping[str, Place]:
    """Each candidate's place. Who is active stays so, also beyond a lowered `max_active`."""
    everyone = list(candidates)
    active = [c for c in everyone if c.active]
    waiting = sorted(
        (c for c in everyone if not c.active), key=lambda c: (-c.priority, c.since, c.name)
    )
    free = max(0, max_active - len(active))
    length = len(waiting[free:])
    admitted = Place(True, max_active=max_active, waiting=length)
    result = {c.name: admitted for c in (*active, *waiting[:free])}
    for position, candidate in enumerate(waiting[free:], start=1):
        result[candidate.name] = Place(False, position, max_active, length)
    return result


class Board:
    """Everybody's place; `on_change` is told who has another than before."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._candidates: dict[str, Candidate] = {}
        self._places: Mapping[str, Place] = {}
        self._max_active = 0
        self._is_current = True
        self._changed: deque[str] = deque()

    def put(self, name: str, candidate: Candidate | None) -> None:
        """What is known of an AgentTask now; None: it neither works nor waits."""
        if self._candidates.get(name) == candidate:
            return
        if candidate is None:
            del self._candidates[name]
        else:
            self._candidates[name] = candidate
        self._is_current = False

    def place(self, name: str, max_active: int) -> Place:
        """Its place; admitted where it is no candidate."""
        if not self._is_current or max_active != self._max_active:
            self._rearrange(max_active)
        while self._changed:
            self._on_change(self._changed[0])
            self._changed.popleft()
        return self._places.get(name, OUTSIDE)

    def _rearrange(self, max_active: int) -> None:
        """All or nothing: an error on the way leaves the board as it was, to be arranged anew."""
        after = places(self._candidates.values(), max_active)
        changed = [
            name
            for name, place in after.items()
            if (old := self._places.get(name)) is None or _as_told(old) != _as_told(place)
        ]
        self._changed.extend(changed)
        self._places, self._max_active, self._is_current = after, max_active, True

    @property
    def active(self) -> int:
        """How many have a place."""
        return sum(candidate.active for candidate in self._candidates.values())

    @property
    def waiting(self) -> int:
        """How many stand in line, those whose turn has just come among them."""
        return len(self._candidates) - self.active


def _as_told(place: Place) -> tuple[bool, str]:
    return place.admitted, "" if place.admitted else place.message
