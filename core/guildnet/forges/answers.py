"""Reads a forge's JSON without trusting its shape; errors name the unexpected field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from guildnet.errors import ForgeUnavailable
from guildnet.text import clean_text
from guildnet.units import parse_time, rfc3339

_MAX_TEXT_CHARACTERS = 65536
_MAX_URL_CHARACTERS = 1024
_MAX_NAME_CHARACTERS = 255
_MAX_NUMBER = 2**53
# Limits for reading a refusal's message; every forge needs less than half.
_MAX_DEPTH = 8
_MAX_PARTS = 64


def value(answer: Any, *keys: str) -> Any:
    """The value at ``keys`` in nested objects; None if it is missing."""
    for key in keys:
        if not isinstance(answer, dict):
            return None
        answer = answer.get(key)
    return answer


def text(answer: Any, *keys: str) -> str:
    """The string at ``keys``, cleaned and bounded. ForgeUnavailable if it is missing."""
    found = value(answer, *keys)
    if not isinstance(found, str):
        raise _unexpected(keys, "a string")
    return clean_text(found, _MAX_TEXT_CHARACTERS)


def name(answer: Any, *keys: str) -> str:
    """The name of a branch or repository at ``keys``. ForgeUnavailable if it is missing."""
    found = text(answer, *keys)
    if len(found) > _MAX_NAME_CHARACTERS:
        raise _unexpected(keys, f"a name of at most {_MAX_NAME_CHARACTERS} characters")
    return found


def commit_id(answer: Any, *keys: str) -> str:
    """The commit id at ``keys``; empty if it is missing or invalid."""
    found = optional_text(answer, *keys)
    return found if re.fullmatch(r"[0-9a-f]{0,64}", found) else ""


def web_url(answer: Any, *keys: str) -> str:
    """The URL of a page at ``keys``. ForgeUnavailable if it is missing."""
    found = text(answer, *keys)
    if not re.fullmatch(rf"https?://[^\s<>\"]{{1,{_MAX_URL_CHARACTERS}}}", found):
        raise _unexpected(keys, "the address of a page")
    return found


def optional_text(answer: Any, *keys: str) -> str:
    """The string at ``keys``, cleaned and bounded; empty if it is missing."""
    found = value(answer, *keys)
    return clean_text(found, _MAX_TEXT_CHARACTERS) if isinstance(found, str) else ""


def integer(answer: Any, *keys: str) -> int:
    """The whole number at ``keys``. ForgeUnavailable if it is missing."""
    found = value(answer, *keys)
    if not isinstance(found, int) or isinstance(found, bool) or abs(found) > _MAX_NUMBER:
        raise _unexpected(keys, "a number")
    return found


def items(answer: Any) -> list[Any]:
    """The answer as a list; null counts as empty. ForgeUnavailable for anything else."""
    if answer is None:
        return []
    if not isinstance(answer, list):
        raise _unexpected((), "a list")
    return answer


def utc(timestamp: str) -> str:
    """Convert an RFC 3339 time to UTC, in whole seconds, ending in Z."""
    try:
        return rfc3339(parse_time(timestamp))
    except (ValueError, OverflowError) as error:
        raise _unexpected((), f"a time instead of {timestamp[:40]!a}") from error


def utc_of_milliseconds(answer: Any, *keys: str) -> str:
    """Convert the milliseconds since 1970 at ``keys`` to the same form."""
    try:
        return rfc3339(datetime.fromtimestamp(integer(answer, *keys) / 1000, UTC))
    except (ValueError, OverflowError, OSError) as error:
        raise _unexpected(keys, "a time") from error


def refusal_message(content: bytes) -> str:
    """The forge's message for a refusal, in any of the known shapes.

    ``message`` and ``errors`` (GitHub, Gitea); ``message`` as a list or by field, or ``error``
    (GitLab); ``error.message`` and its fields (Bitbucket). An answer that is not JSON is the
    message itself. The caller bounds and cleans it.
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return content[:_MAX_TEXT_CHARACTERS].decode(errors="replace")
    if not isinstance(answer, dict):
        return "; ".join(islice(_messages(answer, 0), _MAX_PARTS))
    keys = ("message", "error", "error_description", "detail", "errors", "fields")
    parts = (part for key in keys for part in _messages(answer.get(key), 0) if part)
    return "; ".join(islice(parts, _MAX_PARTS))


def _messages(answer: Any, depth: int) -> Iterator[str]:
    if depth == _MAX_DEPTH:
        return
    if isinstance(answer, list):
        for item in answer:
            yield from _messages(item, depth + 1)
    elif isinstance(answer, dict) and ("message" in answer or "code" in answer):
        message = answer.get("message")
        if message:
            yield from _messages(message, depth + 1)
        else:
            fields = (answer.get(key) for key in ("field", "code"))
            yield " ".join("" if field is None else _scalar(field) for field in fields)
        for key in ("detail", "fields"):
            yield from _messages(answer.get(key), depth + 1)
    elif isinstance(answer, dict):
        for key, inner in answer.items():
            yield from (f"{key}: {message}" for message in _messages(inner, depth + 1))
    elif answer is not None:
        yield _scalar(answer)


def _scalar(answer: Any) -> str:
    return "" if isinstance(answer, list | dict) else str(answer)[:_MAX_TEXT_CHARACTERS]


def _unexpected(keys: tuple[str, ...], wanted: str) -> ForgeUnavailable:
    field = ".".join(keys) or "answer"
    return ForgeUnavailable(
        f"an unexpected answer: {field} is not {wanted}",
        cure="check that this is the address of the forge's API, and the kind of forge",
    )
