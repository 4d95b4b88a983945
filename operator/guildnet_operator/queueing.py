"""Whose turn it is: at most `maxActive` agents at once, highest priority first, then oldest.

A finished, suspended or not yet accepted AgentTask takes no place. `places` is pure; the `Board`
remembers its last answer, so that the cost of one change is not the whole line's each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

_SHOWN_POSITIONS = 10


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unfinished AgentTask that could work; `active`: it holds a place already."""

    name: str
    priority: int
    created: datetime
    active: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A place among the active, or a position (from 1) among `waiting` others in line."""

    admitted: bool
    position: int = 0
    max_active: int = 0

    @property
    def message(self) -> str:
        """Far positions are not told: they would rewrite every waiting status at every end."""
        line = (
            f"number {self.position} in line"
            if self.position <= _SHOWN_POSITIONS
            else f"behind more than {_SHOWN_POSITIONS} others"
        )
        return f"{line}; the org runs {self.max_active} agents at once (limits.maxActive)"


OUTSIDE = Place(True)


def places(candidates: Iterable[Candidate], max_active: int) -> Mapping[str, Place]:
    """Each candidate's place. Who is active stays so, also beyond a lowered `max_active`."""
    everyone = list(candidates)
    active = [c for c in everyone if c.active]
    waiting = sorted(
        (c for c in everyone if not c.active), key=lambda c: (-c.priority, c.created, c.name)
    )
    free = max(0, max_active - len(active))
    result = {c.name: Place(True) for c in (*active, *waiting[:free])}
    for position, candidate in enumerate(waiting[free:], start=1):
        result[candidate.name] = Place(False, position, max_active)
    return result


class Board:
    """Everybody's place; `on_change` is told who has another than before."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._candidates: dict[str, Candidate] = {}
        self._places: Mapping[str, Place] = {}
        self._max_active = 0
        self._is_current = True

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
            self._max_active = max_active
            self._rearrange()
        return self._places.get(name, OUTSIDE)

    def _rearrange(self) -> None:
        before, self._places = self._places, places(self._candidates.values(), self._max_active)
        self._is_current = True
        for name, place in self._places.items():
            old = before.get(name)
            if old is None or (old.admitted, old.message) != (place.admitted, place.message):
                self._on_change(name)
