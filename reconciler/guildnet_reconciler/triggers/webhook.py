"""Webhooks: who sends what, signed how. Pure: bytes and headers in, a verdict out.

A webhook only ever means "look now": what is applied comes from the fetch. So a replayed one does
no harm, and nothing in the body is believed but whether it is about the branch that is followed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_BODY_BYTES = 1024 * 1024
PROVIDERS = ("github", "gitlab", "gitea", "bitbucket", "generic")

_SIGNATURES = {
    "github": ("x-hub-signature-256", "sha256="),
    "gitea": ("x-gitea-signature", ""),
    "bitbucket": ("x-hub-signature", "sha256="),
    "generic": ("x-guildnet-signature-256", "sha256="),
}
_EVENTS = {
    "github": "x-github-event",
    "gitea": "x-gitea-event",
    "gitlab": "x-gitlab-event",
    "bitbucket": "x-event-key",
}
_PINGS = ("ping", "diagnostics:ping")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to answer, and whether to look at the repository; `message` is for the sender."""

    code: int
    message: str
    look: bool = False


def judge(
    provider: str, headers: Mapping[str, str], body: bytes, *, secret: bytes, branch: str
) -> Verdict:
    """The verdict on one request; `headers` in lower case.

    401 for a missing or wrong signature, 400 for a body that is no JSON object, 202 otherwise.
    """
    if provider not in PROVIDERS:
        return Verdict(404, f"no provider {provider!r}; there are {', '.join(PROVIDERS)}")
    if len(body) > MAX_BODY_BYTES:
        return Verdict(413, f"more than {MAX_BODY_BYTES} bytes")
    if not _is_authentic(provider, headers, body, secret):
        return Verdict(401, "the signature is missing or wrong: compare the secrets on both sides")
    event = headers.get(_EVENTS.get(provider, ""), "")
    if event in _PINGS:
        return Verdict(200, "pong")
    try:
        content = json.loads(body) if body.strip() or provider != "generic" else {}
    except (ValueError, RecursionError):
        return Verdict(400, "the body is not JSON")
    if not isinstance(content, dict):
        return Verdict(400, "the body is no JSON object")
    refs = _refs(provider, content)
    if refs and not any(_is_ours(ref, branch) for ref in refs):
        return Verdict(202, f"nothing to do: {refs[0][:100]} is not followed here")
    return Verdict(202, "queued: the repository is looked at now", look=True)


def _is_authentic(provider: str, headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    if not secret:
        return False
    if provider == "gitlab":
        return hmac.compare_digest(headers.get("x-gitlab-token", "").encode(), secret)
    header, prefix = _SIGNATURES[provider]
    given = headers.get(header, "")
    if not given.startswith(prefix):
        return False
    wanted = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given.removeprefix(prefix).lower().encode(), wanted.encode())


def _refs(provider: str, content: Mapping[str, Any]) -> list[str]:
    """The refs that the event says have moved; none where it does not say."""
    if provider == "bitbucket":
        changes = content.get("changes") or _mapping(content.get("push")).get("changes")
        listed = changes if isinstance(changes, list) else []
        found = [_bitbucket_ref(change) for change in listed if isinstance(change, dict)]
        return [ref for ref in found if ref]
    ref = content.get("ref")
    return [ref] if isinstance(ref, str) else []


def _bitbucket_ref(change: Mapping[str, Any]) -> str:
    """Bitbucket Data Center tells `ref.id`, Cloud tells `new.name` (null when deleted)."""
    told = _mapping(change.get("ref")).get("id")
    if isinstance(told, str):
        return told
    name = (_mapping(change.get("new")) or _mapping(change.get("old"))).get("name")
    return f"refs/heads/{name}" if isinstance(name, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_ours(ref: str, branch: str) -> bool:
    return ref in (branch, f"refs/heads/{branch}")
