"""Requests and replies, independent of the wire format. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """A tool that the client offers. ``is_freeform``: it takes one text instead of JSON."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    is_freeform: bool = False

    @property
    def properties(self) -> Mapping[str, Any]:
        return self.schema.get("properties") or {}

    def takes(self, *names: str) -> str | None:
        """The first of these names that is a parameter of the tool."""
        return next((name for name in names if name in self.properties), None)


@dataclass(frozen=True)
class ModelRequest:
    """One request. ``results`` are the results of the client's tools so far, in order; ``schema``
    requires JSON output; ``wants_usage``: Chat Completions stream usage only if requested."""

    model: str
    is_stream: bool
    prompt: str
    tools: Sequence[Tool] = ()
    results: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None
    wants_usage: bool = True


@dataclass(frozen=True)
class Call:
    """A call of a tool; the arguments are an object, or a text for a freeform tool."""

    tool: Tool
    arguments: Json | str


@dataclass(frozen=True)
class Reply:
    text: str
    call: Call | None = None


@dataclass(frozen=True)
class Usage:
    """The tokens of one answer. ``cached`` and ``written`` are included in ``read``, ``reasoning``
    is included in ``output``."""

    read: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    reasoning: int = 0


def text_of(content: Any) -> str:
    """The text of a content field, which is a text, a part or a list of parts."""
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in content)
    if isinstance(content, dict):
        for name in ("text", "content", "output"):
            if content.get(name):
                return text_of(content[name])
        return ""
    return str(content or "")
