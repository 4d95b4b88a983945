"""What the gateway needs of a request's body, and the one thing it adds to it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from guildnet_agent.supervisor.model_gateway.json_members import NotJson, Span, members, value_at
from guildnet_agent.supervisor.model_gateway.protocols import Matched

_READ = ("model", "stream", "stream_options", "background")


@dataclass(frozen=True)
class RequestBody:
    """``data`` is what goes to the provider."""

    data: bytes
    model: str | None


def read_body(data: bytes, matched: Matched) -> RequestBody:
    """The body to send on, and the model it names. NotJson with a message for the client.

    Readers of JSON differ in which of two equal names counts, and some ignore case. A body that
    could mean another model to the provider than to us is refused.
    """
    found = _read_members(data)
    model = matched.model
    if model is None:
        named = found.get("model")
        value = value_at(data, named) if named else None
        if not isinstance(value, str):
            raise NotJson("the body names no model")
        model = value
    if _value(data, found, "background"):
        raise NotJson("background answers are not passed: their usage is not in the answer")
    if matched.protocol.name == "openai-chat" and _value(data, found, "stream") is True:
        data = _ask_for_usage(data, found)
    return RequestBody(data, model)


def _read_members(data: bytes) -> dict[str, Span]:
    found: dict[str, Span] = {}
    for name, span in members(data):
        folded = name.casefold()
        if folded not in _READ:
            continue
        if folded != name or name in found:
            raise NotJson(f"the member {folded!r} stands twice, or in another spelling")
        found[name] = span
    return found


def _value(data: bytes, found: dict[str, Span], name: str) -> Any:
    return value_at(data, found[name]) if name in found else None


def _ask_for_usage(data: bytes, found: dict[str, Span]) -> bytes:
    """Chat Completions report the usage of a stream only where the request asks for it."""
    span = found.get("stream_options")
    options = value_at(data, span) if span else None
    if options is not None and not isinstance(options, dict):
        raise NotJson("stream_options is not an object")
    wanted = json.dumps({**(options or {}), "include_usage": True}).encode()
    if span:
        return data[: span[0]] + wanted + data[span[1] :]
    brace = data.index(b"{") + 1
    return data[:brace] + b'"stream_options":' + wanted + b"," + data[brace:]
