"""The usage that a command reports, such as tokens and cost: checked, but not interpreted."""

from __future__ import annotations

import re
from typing import Any

USAGE = "usage.json"
"""The artifact in which a command reports its usage; it becomes part of ``last_run.json``."""

MAX_NUMBERS = 16
MAX_NUMBER = 10**15
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}\Z")


def check_usage(value: Any) -> dict[str, int | float]:
    """An object of at most 16 names, each with a number from 0 to 10^15. ValueError if not."""
    if not isinstance(value, dict) or len(value) > MAX_NUMBERS:
        raise ValueError(f"usage must be an object of at most {MAX_NUMBERS} numbers")
    for name, number in value.items():
        if not _NAME.match(name):
            raise ValueError("a name in usage must be up to 40 letters, digits and _")
        if type(number) not in (int, float) or not 0 <= number <= MAX_NUMBER:
            raise ValueError(f"usage of {name} must be a number from 0 to 10^15")
    return value
