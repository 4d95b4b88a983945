"""The usage that a provider reports in its answers: all protocols, streamed or whole. Pure.

``Tokens.input`` counts every token of the prompt, those from the cache and those written to it
included; ``output`` includes reasoning. Providers count differently; here they are made equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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

_BYTES_OF_TOKEN = 4
_FRAME_BYTES = 200  # of an event around its text, roughly, in each of the protocols


@dataclass(frozen=True)
class Tokens:
    """What one answer used. ``cached_input`` and ``cache_write`` are parts of ``input``,
    ``reasoning`` is a part of ``output``."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


def estimated_tokens(count: int) -> int:
    """How many tokens a text of so many bytes has, roughly."""
    return max(0, count) // _BYTES_OF_TOKEN


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
        self._passed_bytes = 0
        self._events = 0

    @property
    def tokens(self) -> Tokens | None:
        """What the answer reported by now; None where it reported nothing."""
        return _READERS[self._protocol](self._usage) if self._usage else None

    @property
    def estimate(self) -> Tokens:
        """At least about what passed, for an answer whose usage was not reported to its end.

        An event carries a token or more; what it has beyond its frame is text.
        """
        seen = self.tokens or Tokens()
        text = self._passed_bytes - _FRAME_BYTES * self._events
        return replace(seen, output=max(seen.output, self._events, estimated_tokens(text)))

    def feed(self, data: bytes) -> None:
        self._passed_bytes += len(data)
        if not self._is_stream:
            self._keep(data, MAX_WHOLE_BYTES)
            return
        lines, newline, rest = data.rpartition(b"\n")
        if newline:
            if len(self._buffer) + len(lines) > MAX_LINE_BYTES:
                self._is_too_long = True
            if self._is_too_long:
                self._buffer.clear()
                self._is_too_long = False
                _, _, lines = lines.partition(b"\n")
            self._buffer += lines
            self._end_lines()
        self._keep(rest, MAX_LINE_BYTES)

    def end(self) -> None:
        """No more bytes will come, by its end or because it was cut."""
        if self._is_stream:
            self._end_lines()
        elif not self._is_too_long:
            self._read_whole(bytes(self._buffer))
        self._buffer.clear()

    def _keep(self, data: bytes, limit: int) -> None:
        if len(self._buffer) + len(data) > limit:
            self._is_too_long = True
            self._buffer.clear()
        elif not self._is_too_long:
            self._buffer += data

    def _end_lines(self) -> None:
        """Read the whole lines in the buffer; few of them report usage."""
        self._events += self._buffer.count(b"data:")
        if self._mark in self._buffer:
            for line in bytes(self._buffer).split(b"\n"):
                if line.startswith(b"data:") and self._mark in line:
                    self._read_object(line[5:], (0, len(line) - 5))
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
