"""Parse JSON of the status branch, and read its fields without trusting their types. Pure.

Records may be damaged, or older or newer than this code. None of them may break a page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from guildnet.redact import hide_user_info


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; user information in URLs is masked (I8).

    Raises ValueError for anything else: other JSON values, infinite numbers, too much nesting.
    """
    try:
        content = json.loads(data, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if b"\\u" in data:
        # An unpaired surrogate could not be encoded as UTF-8.
        encoded = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        content = json.loads(encoded)
    return {key: _masked(value) for key, value in content.items()} if b"@" in data else content


def condition_list(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return mappings(content.get("conditions"))


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; [] for a value that is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(content: Mapping[str, Any], key: str) -> str:
    """`content[key]` if it is a string, else ""."""
    value = content.get(key)
    return value if isinstance(value, str) else ""


def number(content: Mapping[str, Any], key: str) -> int:
    value = content.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return hide_user_info(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not valid JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number
