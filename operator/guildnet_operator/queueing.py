"""Whose turn it is: at most `maxActive` agents at once, highest priority first, then oldest. Pure.

A finished, suspended or not yet accepted AgentTask takes no place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
