"""Reading a forge's JSON without trusting its shape: what is not as expected is said plainly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from guildnet.errors import ForgeUnavailable
from guildnet.units import parse_time, rfc3339

_MAX_TEXT_CHARACTERS = 65536


def value(told: Any, *keys: str) -> Any:
    """What stands at ``keys`` in nested objects, None where it does not."""
    for key in keys:
        if not isinstance(told, dict):
            return None
        told = told.get(key)
    return told


def text(told: Any, *keys: str) -> str:
    """The string at ``keys``, bounded. Raises ForgeUnavailable where there is none."""
    found = value(told, *keys)
    if not isinstance(found, str):
        raise _unexpected(keys, "a string")
    return found[:_MAX_TEXT_CHARACTERS]


def optional_text(told: Any, *keys: str) -> str:
    """The string at ``keys``, bounded; empty where there is none."""
    found = value(told, *keys)
    return found[:_MAX_TEXT_CHARACTERS] if isinstance(found, str) else ""


def integer(told: Any, *keys: str) -> int:
    """The whole number at ``keys``. Raises ForgeUnavailable where there is none."""
    found = value(told, *keys)
    if not isinstance(found, int) or isinstance(found, bool):
        raise _unexpected(keys, "a number")
    return found


def items(told: Any) -> list[Any]:
    """A list answered as such; null counts as empty. Raises ForgeUnavailable for anything else."""
    if told is None:
        return []
    if not isinstance(told, list):
        raise _unexpected((), "a list")
    return told


def utc(timestamp: str) -> str:
    """An RFC 3339 time as the same moment in UTC, whole seconds, ending in Z."""
    try:
        return rfc3339(parse_time(timestamp))
    except (ValueError, OverflowError) as error:
        raise _unexpected((), f"a time instead of {timestamp[:40]!r}") from error


def utc_of_milliseconds(told: Any, *keys: str) -> str:
    """The milliseconds since 1970 at ``keys`` in the same form."""
    try:
        return rfc3339(datetime.fromtimestamp(integer(told, *keys) / 1000, UTC))
    except (ValueError, OverflowError, OSError) as error:
        raise _unexpected(keys, "a time") from error


def refusal_message(content: bytes) -> str:
    """A forge's own words for a refusal, of whichever shape: ``message`` and ``errors`` (GitHub,
    Gitea), ``message`` as a list or by field, or ``error`` (GitLab), ``error.message`` and its
    fields (Bitbucket). The text itself where it is no JSON; bounded by the caller."""
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return content[:_MAX_TEXT_CHARACTERS].decode(errors="replace")
    if not isinstance(told, dict):
        return str(told)
    keys = ("message", "error", "error_description", "detail", "errors", "fields")
    return "; ".join(part for key in keys for part in _said(told.get(key)) if part)


def _said(told: Any) -> Iterator[str]:
    if isinstance(told, list):
        for item in told:
            yield from _said(item)
    elif isinstance(told, dict) and ("message" in told or "code" in told):
        words = told.get("message") or " ".join(str(told.get(k, "")) for k in ("field", "code"))
        yield str(words)
        for key in ("detail", "fields"):
            yield from _said(told.get(key))
    elif isinstance(told, dict):
        for key, inner in told.items():
            yield from (f"{key}: {words}" for words in _said(inner))
    elif told is not None:
        yield str(told)


def _unexpected(keys: tuple[str, ...], wanted: str) -> ForgeUnavailable:
    place = ".".join(keys) or "answer"
    return ForgeUnavailable(
        f"an unexpected answer: {place} is not {wanted}",
        cure="see that this address is the API of the kind of forge that was named",
    )
