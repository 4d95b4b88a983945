"""How long a server asks us to wait, read from headers that a stranger wrote. Pure."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

#: No server's word keeps us away for longer, in seconds.
LONGEST_WAIT = 3600.0
_MAX_HEADER_CHARACTERS = 64


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
