"""JSON of the status branch as it may be shown: an object, finite, encodable, without credentials.

Records are GuildNet's own, but a page must not fail, nor following end, for one that is not.
"""

from __future__ import annotations

import json
import math
from typing import Any

from guildnet.redact import hide_user_info


def parse_object(data: bytes) -> dict[str, Any]:
    """The object in `data`; user information of URLs in it is masked (I8).

    Raises ValueError, in words, for whatever is none: other JSON, numbers beyond all bounds,
    nesting beyond what a reader takes.
    """
    try:
        content = json.loads(data, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if b"\\u" in data:
        # Half a surrogate pair could be neither encoded nor shown.
        whole = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        content = json.loads(whole)
    return {key: _masked(value) for key, value in content.items()} if b"@" in data else content


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return hide_user_info(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number
