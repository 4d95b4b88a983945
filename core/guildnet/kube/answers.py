"""Parse, clean and check the answers of an API server.

The server may be broken or hostile, or the answer may be a proxy's login page. An answer that no
API server would give raises a KubeError with reason `BadAnswer`, which names the cluster. No other
error is raised.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from guildnet.errors import KubeError, KubeUnavailable

JsonObject = dict[str, Any]

BAD_ANSWER = "BadAnswer"
MAX_DEPTH = 100
"""Deeper levels are cut off. Kubernetes' own kinds have fewer than 40 levels."""
_MAX_NAME_CHARS = 1024
_CURE = "check that the server in the kubeconfig is the API server and not a proxy's login page"
# Escapes of half a surrogate pair or of NUL, which neither git nor logs accept.
_SUSPECT = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")


def bad_answer(problem: str, place: str) -> KubeError:
    """The error for an answer that no API server would give."""
    return KubeUnavailable(
        f"the answer is not from a Kubernetes API server: {problem}",
        place=place,
        cure=_CURE,
        reason=BAD_ANSWER,
    )


def parsed(body: bytes, place: str) -> JsonObject:
    """Parse an answer's body as a JSON object; replace characters that UTF-8 cannot encode."""
    try:
        value = json.loads(
            body.decode("utf-8-sig", "replace"), parse_constant=_refuse, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise bad_answer("it is not JSON", place) from error
    if not isinstance(value, dict):
        raise bad_answer("it is not a JSON object", place)
    if _SUSPECT.search(body) or _is_deeper(value, MAX_DEPTH):
        cleaned: JsonObject = _cleaned(value, MAX_DEPTH)
        return cleaned
    return value


def checked_object(obj: Any, place: str) -> JsonObject:
    """Return `obj` after checking that it has a name, and that uid, resourceVersion and namespace
    are strings."""
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
        raise bad_answer("an object without metadata", place)
    metadata = obj["metadata"]
    name = metadata.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME_CHARS:
        raise bad_answer("an object without a name", place)
    for key in ("uid", "resourceVersion", "namespace"):
        if not isinstance(metadata.setdefault(key, ""), str):
            raise bad_answer(f"an object whose {key} is not a string", place)
    return obj


def checked_page(page: JsonObject, place: str) -> JsonObject:
    """Return `page` after checking that it is one page of a list of objects with metadata."""
    metadata = page.get("metadata")
    if not isinstance(metadata, dict):
        raise bad_answer("a list without metadata", place)
    for key in ("resourceVersion", "continue"):
        if not isinstance(metadata.get(key) or "", str):
            raise bad_answer(f"a list whose {key} is not a string", place)
    items = page.get("items")
    if items is not None and not isinstance(items, list):
        raise bad_answer("a list whose items are not a list", place)
    for item in items or []:
        if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
            raise bad_answer("an object without metadata", place)
    page["items"] = items or []
    return page


def version_of(page_or_object: Mapping[str, Any], place: str) -> str:
    """The resourceVersion; raise BadAnswer if it is missing."""
    version = page_or_object["metadata"].get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise bad_answer("its resourceVersion is missing", place)
    return version


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("the number is too large")
    return value


def _cleaned(value: Any, levels: int) -> Any:
    """Replace half surrogate pairs and NUL in `value`; empty whatever is deeper than `levels`."""
    if isinstance(value, str):
        return (
            value.encode("utf-16", "surrogatepass")
            .decode("utf-16", "replace")
            .replace("\0", "\ufffd")
        )
    if isinstance(value, dict):
        pairs = value.items() if levels else ()
        return {_cleaned(key, 0): _cleaned(child, levels - 1) for key, child in pairs}
    if isinstance(value, list):
        return [_cleaned(child, levels - 1) for child in (value if levels else ())]
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True
