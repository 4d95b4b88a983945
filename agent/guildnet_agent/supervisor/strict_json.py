"""Strict JSON: rejects input that different parsers would read differently."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 64


def parse_strict(data: bytes) -> Any:
    """Parse UTF-8 JSON, more strictly than `json.loads`.

    Raises ValueError for other encodings, NaN and Infinity, duplicate names, lone surrogates, and
    nesting deeper than 64.
    """
    text = data.decode("utf-8")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_float
        )
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from None
    _check(value)
    return value


def _check(value: Any) -> None:
    """Check depth and strings, level by level: recursion could overflow the stack."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and not _is_text(item):
                raise ValueError("a lone surrogate")
        level = below
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a duplicate name in an object")
    return found


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number too large for a double")
    return number


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
