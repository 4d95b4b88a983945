"""The outcome of a step of a pass. One function turns outcomes into status, events and wake-ups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """The step is complete."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something outside is not ready: retry after `retry_in`, or when woken if it is None."""

    reason: str
    message: str
    retry_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Stalled:
    """A person must change something before a retry can succeed; `message` says what."""

    reason: str
    message: str


Outcome = Done | Waiting | Stalled
