"""Reading an agent's JSON lines: whatever comes, a line for people comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_SHOWN = 400

Event = Mapping[str, Any]


def parse_event(line: str) -> Event | None:
    """The JSON object in a line; None where it is plain text."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def part(value: Any, *names: str) -> Any:
    """A member within members; None where one of them is missing."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def parts(value: Any, *names: str) -> list[Event]:
    """The objects of a list within members."""
    found = part(value, *names)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def one_line(value: Any) -> str:
    """A value on one line, shortened."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def error_text(value: Any) -> str:
    """An error on one line; of an endpoint's JSON answer within it the message alone."""
    text = value if isinstance(value, str) else ""
    begin, end = text.find("{"), text.rfind("}") + 1
    answer = parse_event(text[begin:end]) if 0 <= begin < end else None
    inner = part(answer, "error", "message") or part(answer, "message")
    return one_line(f"{text[:begin]}{inner}{text[end:]}" if isinstance(inner, str) else text)


def message(text: Any) -> list[str]:
    """The log line of what the agent says."""
    shown = one_line(text) if text else ""
    return [f"agent: {shown}"] if shown else []


def tool_call(name: Any, given: Any) -> list[str]:
    """The log line of a tool call: the one argument that says most, else all of them."""
    if isinstance(given, dict):
        telling = ("command", "cmd", "file_path", "filePath", "path", "absolute_path", "pattern")
        given = next((given[key] for key in telling if given.get(key)), given)
        if isinstance(given, list):
            given = " ".join(map(str, given))
    shown = one_line(given) if given not in (None, {}, "") else ""
    return [f"tool {name}: {shown}" if shown else f"tool {name}"]


def tool_failure(text: Any) -> list[str]:
    return [f"tool failed: {one_line(text or 'without a message')}"]
