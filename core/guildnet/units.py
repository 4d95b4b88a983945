"""Parses durations and quantities of YAML files; parses and formats times as Kubernetes does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DURATION_PART = re.compile(r"([0-9]+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=36_500)
_QUANTITY = re.compile(r"([0-9]+(?:[.][0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_FACTORS = {
    None: 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


def parse_duration(text: str) -> timedelta:
    """`1h30m` as a timedelta. Raises ValueError for text that the schema rejects.

    The result is at most 100 years, so that adding it to a time cannot overflow.
    """
    if not re.fullmatch(r"([0-9]+[smhd])+", text):
        raise ValueError(f"{text!r} is not a duration such as 90s, 10m, 2h or 1h30m")
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in _DURATION_PART.findall(text))
    return timedelta(seconds=min(seconds, int(_LONGEST.total_seconds())))


def parse_quantity(text: str) -> int:
    """`256Ki` as a whole number, rounded up. Raises ValueError for other text."""
    value = quantity_value(text)
    return int(value) if value == int(value) else int(value) + 1


def quantity_value(text: str) -> float:
    """`500m` as 0.5. Raises ValueError for text that is not a quantity."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 256Ki or 5Gi")
    return float(match[1]) * _FACTORS[match[2]]


def rfc3339(moment: datetime) -> str:
    """The time in UTC with whole seconds, in the format of Kubernetes."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Parse a time of Kubernetes or a forge; the result has a time zone."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
