"""Reading a forge's JSON without trusting its shape: what is not as expected is said plainly."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from guildnet.errors import ForgeUnavailable

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
        moment = datetime.fromisoformat(timestamp)
    except ValueError as error:
        raise _unexpected((), f"a time instead of {timestamp[:40]!r}") from error
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unexpected(keys: tuple[str, ...], wanted: str) -> ForgeUnavailable:
    place = ".".join(keys) or "answer"
    return ForgeUnavailable(
        f"an unexpected answer: {place} is not {wanted}",
        cure="see that this address is the API of the kind of forge that was named",
    )
