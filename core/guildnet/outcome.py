"""What a step of a pass came to. One place turns outcomes into status, events and wake-ups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """The step did all it had to."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something outside is not ready: try again after `retry_in` (None: when woken)."""

    reason: str
    message: str
    retry_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Stalled:
    """Trying again will not help until a person changes something; `message` says what."""

    reason: str
    message: str


Outcome = Done | Waiting | Stalled
