"""The usage that a provider reports in its answers: all protocols, streamed or whole. Pure.

``Tokens.input`` counts every token of the prompt, those from the cache and those written to it
included; ``output`` includes reasoning. Providers count differently; here they are made equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guildnet_agent.supervisor.model_gateway.json_members import (
    NotJson,
    Span,
    find,
    is_array,
    items,
    value_at,
)
from guildnet_agent.supervisor.model_gateway.protocols import ProtocolName

MAX_COUNT = 10**12
MAX_WHOLE_BYTES = 32 * 1024 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Tokens:
    """What one answer used. ``cached_input`` and ``cache_write`` are parts of ``input``,
    ``reasoning`` is a part of ``output``."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


def _anthropic(usage: Mapping[str, Any]) -> Tokens:
    cached = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    return Tokens(
        input=_count(usage, "input_tokens") + cached + written,
        cached_input=cached,
        cache_write=written,
        output=_count(usage, "output_tokens"),
    )


def _chat(usage: Mapping[str, Any]) -> Tokens:
    details = _part(usage, "prompt_tokens_details")
    # DeepSeek's name for the same number.
    cached = _count(details, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens")
    reasoning = _count(_part(usage, "completion_tokens_details"), "reasoning_tokens")
    return Tokens(
        input=_count(usage, "prompt_tokens"),
        cached_input=cached,
        output=_count(usage, "completion_tokens"),
        reasoning=reasoning,
    )


def _responses(usage: Mapping[str, Any]) -> Tokens:
    return Tokens(
        input=_count(usage, "input_tokens"),
        cached_input=_count(_part(usage, "input_tokens_details"), "cached_tokens"),
        output=_count(usage, "output_tokens"),
        reasoning=_count(_part(usage, "output_tokens_details"), "reasoning_tokens"),
    )


def _gemini(usage: Mapping[str, Any]) -> Tokens:
    thoughts = _count(usage, "thoughtsTokenCount")
    return Tokens(
        input=_count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount"),
        cached_input=_count(usage, "cachedContentTokenCount"),
        output=_count(usage, "candidatesTokenCount") + thoughts,
        reasoning=thoughts,
    )


_READERS = {
    "anthropic": _anthropic,
    "openai-chat": _chat,
    "openai-responses": _responses,
    "gemini": _gemini,
}
# Where an answer or an event may hold the usage: itself, or in one of these members.
_HOLDERS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("message",),
    "openai-chat": (),
    "openai-responses": ("response",),
    "gemini": ("response",),
}
_MEMBER = {"gemini": "usageMetadata"}


class AnswerUsage:
    """Reads the usage of one answer while its bytes pass. Never raises on what passes."""

    def __init__(self, protocol: ProtocolName, *, is_stream: bool) -> None:
        self._protocol = protocol
        self._is_stream = is_stream
        self._member = _MEMBER.get(protocol, "usage")
        self._mark = f'"{self._member}"'.encode()
        self._usage: dict[str, Any] = {}
        self._buffer = bytearray()
        self._is_too_long = False

    @property
    def tokens(self) -> Tokens | None:
        """What the answer reported by now; None where it reported nothing."""
        return _READERS[self._protocol](self._usage) if self._usage else None

    def feed(self, data: bytes) -> None:
        if not self._is_stream:
            self._keep(data, MAX_WHOLE_BYTES)
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._keep(line, MAX_LINE_BYTES)
            self._end_line()
        self._keep(rest, MAX_LINE_BYTES)

    def end(self) -> None:
        """No more bytes will come, by its end or because it was cut."""
        if self._is_stream:
            self._end_line()
        elif not self._is_too_long:
            self._read_whole(bytes(self._buffer))
        self._buffer.clear()

    def _keep(self, data: bytes, limit: int) -> None:
        if len(self._buffer) + len(data) > limit:
            self._is_too_long = True
            self._buffer.clear()
        elif not self._is_too_long:
            self._buffer += data

    def _end_line(self) -> None:
        if self._buffer.startswith(b"data:") and self._mark in self._buffer:
            self._read_object(bytes(self._buffer[5:]), (0, len(self._buffer) - 5))
        self._buffer.clear()
        self._is_too_long = False

    def _read_whole(self, data: bytes) -> None:
        """A whole answer; Gemini streams an array of them where no events were asked for."""
        if self._mark not in data:
            return
        if is_array(data):
            for span in items(data):
                self._read_object(data, span)
        else:
            self._read_object(data, (0, len(data)))

    def _read_object(self, data: bytes, span: Span) -> None:
        """Later numbers replace earlier ones: every protocol's usage is a running total."""
        begin, end = span
        piece = data[begin:end]
        try:
            spans = [find(piece, self._member)]
            for holder in _HOLDERS[self._protocol]:
                inner = find(piece, holder)
                if inner and piece[inner[0] : inner[0] + 1] == b"{":
                    spans.append(find(piece, self._member, inner[0]))
            for found in spans:
                value = value_at(piece, found) if found else None
                if isinstance(value, dict):
                    self._usage |= {k: v for k, v in value.items() if v is not None}
        except NotJson:
            return


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and 0 <= value <= MAX_COUNT else 0


def _part(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}
