"""What a command says it used: tokens, cost. Bounded numbers; nothing is made of them here."""

from __future__ import annotations

import re
from typing import Any

USAGE = "usage.json"
"""The artifact that a command reports its usage in; its content goes into ``last_run.json``."""

MAX_NUMBERS = 16
MAX_NUMBER = 10**15
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}\Z")


def check_usage(value: Any) -> dict[str, int | float]:
    """An object of at most 16 names, each with a number from 0 to 10^15. ValueError if not."""
    if not isinstance(value, dict) or len(value) > MAX_NUMBERS:
        raise ValueError(f"usage is an object of at most {MAX_NUMBERS} numbers")
    for name, number in value.items():
        if not _NAME.match(name):
            raise ValueError("a name of usage is up to 40 letters, digits and _")
        if type(number) not in (int, float) or not 0 <= number <= MAX_NUMBER:
            raise ValueError(f"usage of {name} is a number from 0 to 10^15")
    return value
