"""How long to wait before the next try: our own growing pauses, and what a server asks for."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime

#: The longest wait, in seconds, that a server can ask for.
LONGEST_WAIT = 3600.0
_MAX_HEADER_CHARACTERS = 64
_MAX_DOUBLINGS = 30  # far beyond any `longest`, and well within a float


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between tries: `first`, multiplied by `factor` after each further failure, and never
    more than `longest`.

    `jitter` is the largest share by which a pause is shortened at random, so that clients that
    failed together do not all come back at the same moment.
    """

    first: timedelta
    longest: timedelta
    factor: float = 2.0
    jitter: float = 0.2

    def ceiling(self, failures: int) -> timedelta:
        """The pause after so many failures in a row (1 or more), without jitter. Pure."""
        growth = self.factor ** min(max(failures, 1) - 1, _MAX_DOUBLINGS)
        seconds = self.first.total_seconds() * growth  # a timedelta would overflow
        return timedelta(seconds=min(seconds, self.longest.total_seconds()))

    def pause(self, failures: int) -> timedelta:
        """The pause after so many failures in a row (1 or more)."""
        return spread(self.ceiling(failures), self.jitter)


def spread(period: timedelta, share: float = 0.2) -> timedelta:
    """The period, shortened at random by up to `share` of it.

    What many do at regular intervals (polls, renewals of Leases) must not happen all at once.
    """
    return period * random.uniform(1 - share, 1)  # noqa: S311


def retry_after(value: str | None, now: float, least: float = 0.0) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or an HTTP date (RFC 9110).

    `now` is the Unix time. The answer is finite and from `least` to an hour; None without a
    header, and for one that cannot be read.
    """
    if value is None or len(value) > _MAX_HEADER_CHARACTERS:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError):
            return None
    return _bounded(seconds, least)


def seconds_until(unix_time: str | None, now: float, least: float = 0.0) -> float | None:
    """Seconds until a Unix time in a rate limit's header, with the same bounds."""
    text = (unix_time or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_HEADER_CHARACTERS):
        return None
    return _bounded(float(text) - now, least)


def _bounded(seconds: float, least: float) -> float | None:
    return None if math.isnan(seconds) else min(max(seconds, least), LONGEST_WAIT)
