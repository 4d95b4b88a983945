"""JSON as everybody reads it: what two readers would understand differently is refused."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 64


def parse_strict(data: bytes) -> Any:
    """The value of UTF-8 JSON. ValueError for anything else Python's reader would take.

    Refused are other encodings, NaN and Infinity, names that come twice, half surrogate pairs,
    and nesting beyond 64.
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
    """Without recursion, whose depth is what is to be bounded."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and not _is_text(item):
                raise ValueError("half a surrogate pair")
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
        raise ValueError("a name comes twice in one object")
    return found


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond all bounds")
    return number


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
