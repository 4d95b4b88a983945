"""Reads a forge's JSON without trusting its shape; an unexpected field is named in the error."""

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
# A refusal's words are read this deep and this often: every forge needs less than half.
_MAX_DEPTH = 8
_MAX_PARTS = 64


def value(answer: Any, *keys: str) -> Any:
    """The value at ``keys`` in nested objects; None where there is none."""
    for key in keys:
        if not isinstance(answer, dict):
            return None
        answer = answer.get(key)
    return answer


def text(answer: Any, *keys: str) -> str:
    """The string at ``keys``, cleaned and bounded. Raises ForgeUnavailable without one."""
    found = value(answer, *keys)
    if not isinstance(found, str):
        raise _unexpected(keys, "a string")
    return clean_text(found, _MAX_TEXT_CHARACTERS)


def name(answer: Any, *keys: str) -> str:
    """A name of a branch or repository at ``keys``. Raises ForgeUnavailable without one."""
    found = text(answer, *keys)
    if len(found) > _MAX_NAME_CHARACTERS:
        raise _unexpected(keys, f"a name of at most {_MAX_NAME_CHARACTERS} characters")
    return found


def commit_id(answer: Any, *keys: str) -> str:
    """A commit's id at ``keys``; empty where there is none."""
    found = optional_text(answer, *keys)
    return found if re.fullmatch(r"[0-9a-f]{0,64}", found) else ""


def web_url(answer: Any, *keys: str) -> str:
    """The address of a page at ``keys``. Raises ForgeUnavailable without one."""
    found = text(answer, *keys)
    if not re.fullmatch(rf"https?://[^\s<>\"]{{1,{_MAX_URL_CHARACTERS}}}", found):
        raise _unexpected(keys, "the address of a page")
    return found


def optional_text(answer: Any, *keys: str) -> str:
    """The string at ``keys``, cleaned and bounded; empty where there is none."""
    found = value(answer, *keys)
    return clean_text(found, _MAX_TEXT_CHARACTERS) if isinstance(found, str) else ""


def integer(answer: Any, *keys: str) -> int:
    """The whole number at ``keys``. Raises ForgeUnavailable where there is none."""
    found = value(answer, *keys)
    if not isinstance(found, int) or isinstance(found, bool) or abs(found) > _MAX_NUMBER:
        raise _unexpected(keys, "a number")
    return found


def items(answer: Any) -> list[Any]:
    """A list answered as such; null counts as empty. Raises ForgeUnavailable for anything else."""
    if answer is None:
        return []
    if not isinstance(answer, list):
        raise _unexpected((), "a list")
    return answer


def utc(timestamp: str) -> str:
    """An RFC 3339 time as the same moment in UTC, whole seconds, ending in Z."""
    try:
        return rfc3339(parse_time(timestamp))
    except (ValueError, OverflowError) as error:
        raise _unexpected((), f"a time instead of {timestamp[:40]!a}") from error


def utc_of_milliseconds(answer: Any, *keys: str) -> str:
    """The milliseconds since 1970 at ``keys`` in the same form."""
    try:
        return rfc3339(datetime.fromtimestamp(integer(answer, *keys) / 1000, UTC))
    except (ValueError, OverflowError, OSError) as error:
        raise _unexpected(keys, "a time") from error


def refusal_message(content: bytes) -> str:
    """A forge's own words for a refusal, of whichever shape: ``message`` and ``errors`` (GitHub,
    Gitea), ``message`` as a list or by field, or ``error`` (GitLab), ``error.message`` and its
    fields (Bitbucket). The text itself where it is not JSON; the caller bounds and cleans it."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return content[:_MAX_TEXT_CHARACTERS].decode(errors="replace")
    if not isinstance(answer, dict):
        return "; ".join(islice(_words(answer, 0), _MAX_PARTS))
    keys = ("message", "error", "error_description", "detail", "errors", "fields")
    parts = (part for key in keys for part in _words(answer.get(key), 0) if part)
    return "; ".join(islice(parts, _MAX_PARTS))


def _words(answer: Any, depth: int) -> Iterator[str]:
    if depth == _MAX_DEPTH:
        return
    if isinstance(answer, list):
        for item in answer:
            yield from _words(item, depth + 1)
    elif isinstance(answer, dict) and ("message" in answer or "code" in answer):
        message = answer.get("message")
        if message:
            yield from _words(message, depth + 1)
        else:
            fields = (answer.get(key) for key in ("field", "code"))
            yield " ".join("" if field is None else _scalar(field) for field in fields)
        for key in ("detail", "fields"):
            yield from _words(answer.get(key), depth + 1)
    elif isinstance(answer, dict):
        for key, inner in answer.items():
            yield from (f"{key}: {words}" for words in _words(inner, depth + 1))
    elif answer is not None:
        yield _scalar(answer)


def _scalar(answer: Any) -> str:
    return "" if isinstance(answer, list | dict) else str(answer)[:_MAX_TEXT_CHARACTERS]


def _unexpected(keys: tuple[str, ...], wanted: str) -> ForgeUnavailable:
    place = ".".join(keys) or "answer"
    return ForgeUnavailable(
        f"an unexpected answer: {place} is not {wanted}",
        cure="see that this address is the API of the kind of forge that was named",
    )
