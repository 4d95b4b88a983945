"""The wire protocols: which paths each has, where its credential goes, how it words an error.

Paths are compared as they arrive, before any decoding: what is not exactly one of these is 404.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

ProtocolName = Literal["anthropic", "openai-chat", "openai-responses", "gemini"]
Kind = Literal["inference", "count", "list"]
ErrorKind = Literal[
    "invalid", "unauthorized", "budget", "not_found", "too_large", "busy", "upstream"
]


@dataclass(frozen=True)
class Route:
    """One path of a protocol. ``pattern`` may name a group ``model``."""

    method: str
    pattern: re.Pattern[str]
    kind: Kind


@dataclass(frozen=True)
class Protocol:
    """``credential``: header and prefix of the provider's key; ``version``: the last segment of a
    base URL that its paths begin with already."""

    name: ProtocolName
    routes: tuple[Route, ...]
    credential: tuple[str, str]
    version: str
    query: frozenset[str] = frozenset()


def _route(method: str, pattern: str, kind: Kind) -> Route:
    return Route(method, re.compile(pattern), kind)


_GEMINI_MODEL = r"/v1beta/models/(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,127})"
_BEARER = ("authorization", "Bearer ")
_PAGES = frozenset({"limit", "after_id", "before_id", "pageSize", "pageToken"})

PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "anthropic",
            (
                _route("POST", r"/v1/messages", "inference"),
                _route("POST", r"/v1/messages/count_tokens", "count"),
                _route("GET", r"/v1/models", "list"),
            ),
            ("x-api-key", ""),
            "/v1",
            _PAGES | {"beta"},
        ),
        Protocol(
            "openai-chat",
            (
                _route("POST", r"/v1/chat/completions", "inference"),
                _route("GET", r"/v1/models", "list"),
            ),
            _BEARER,
            "/v1",
            _PAGES,
        ),
        Protocol(
            "openai-responses",
            (
                _route("POST", r"/v1/responses", "inference"),
                _route("GET", r"/v1/models", "list"),
            ),
            _BEARER,
            "/v1",
            _PAGES,
        ),
        Protocol(
            "gemini",
            (
                _route("POST", _GEMINI_MODEL + r":(?:streamG|g)enerateContent", "inference"),
                _route("POST", _GEMINI_MODEL + r":countTokens", "count"),
                _route("GET", r"/v1beta/models", "list"),
            ),
            ("x-goog-api-key", ""),
            "/v1beta",
            _PAGES | {"alt"},
        ),
    )
}


@dataclass(frozen=True)
class Matched:
    """A request's route. ``model`` is set where the path names it."""

    protocol: Protocol
    kind: Kind
    path: str
    model: str | None = None


def match(
    method: str, path: str, offered: Iterable[str], headers: Mapping[str, str]
) -> Matched | None:
    """The route of a request among the protocols that the endpoint speaks; None for 404.

    Two protocols share the path of the model list: there Anthropic's own header decides.
    """
    found = []
    for name in offered:
        protocol = PROTOCOLS[name]
        for route in protocol.routes:
            hit = route.pattern.fullmatch(path) if route.method == method else None
            if hit:
                found.append(Matched(protocol, route.kind, path, hit.groupdict().get("model")))
    if len(found) > 1:
        is_anthropic = "anthropic-version" in headers
        found.sort(key=lambda item: (item.protocol.name == "anthropic") is not is_anthropic)
    return found[0] if found else None


def upstream_url(base_url: str, matched: Matched) -> str:
    """Where a request goes. People write base URLs with and without the version segment."""
    base = base_url.rstrip("/")
    return base.removesuffix(matched.protocol.version) + matched.path


_STATUS: Mapping[ErrorKind, int] = {
    "invalid": 400,
    "unauthorized": 401,
    "not_found": 404,
    "too_large": 413,
    "busy": 503,
    "upstream": 502,
    # Clients repeat 408, 409, 429 and 5xx, Codex 402 as well; this one must end the conversation.
    "budget": 400,
}
_ANTHROPIC_TYPES: Mapping[ErrorKind, str] = {
    "invalid": "invalid_request_error",
    "unauthorized": "authentication_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "busy": "overloaded_error",
    "upstream": "api_error",
    "budget": "billing_error",
}
_OPENAI_CODES: Mapping[ErrorKind, str] = {
    "invalid": "invalid_request",
    "unauthorized": "invalid_api_key",
    "not_found": "not_found",
    "too_large": "request_too_large",
    "busy": "overloaded",
    "upstream": "bad_gateway",
    "budget": "insufficient_quota",
}
_GEMINI_STATUS: Mapping[ErrorKind, str] = {
    "invalid": "INVALID_ARGUMENT",
    "unauthorized": "UNAUTHENTICATED",
    "not_found": "NOT_FOUND",
    "too_large": "INVALID_ARGUMENT",
    "busy": "UNAVAILABLE",
    "upstream": "UNAVAILABLE",
    "budget": "FAILED_PRECONDITION",
}


def error_answer(protocol: Protocol | None, kind: ErrorKind, message: str) -> tuple[int, bytes]:
    """Status and JSON body of a refusal, in the protocol's own shape.

    Where the protocol is unknown the body has the fields that every client looks for.
    """
    status = _STATUS[kind]
    body: dict[str, object]
    if protocol is None or protocol.name == "anthropic":
        body = {"type": "error", "error": {"type": _ANTHROPIC_TYPES[kind], "message": message}}
    elif protocol.name == "gemini":
        body = {"error": {"code": status, "message": message, "status": _GEMINI_STATUS[kind]}}
    else:
        code = _OPENAI_CODES[kind]
        error = {"message": message, "type": code, "param": None, "code": code}
        body = {"error": error}
    return status, json.dumps(body).encode()
