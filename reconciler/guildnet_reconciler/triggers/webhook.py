"""Webhooks: how each forge signs them. Pure: headers and chunks of a body in, a verdict out.

A signed webhook only asks for a pass: what is applied comes from the fetch. So a replayed webhook
does no harm, and bodies are neither kept nor parsed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from guildnet_reconciler.triggers.form import FormField

MAX_BODY_BYTES = 25 * 1024 * 1024
"""As much as GitHub sends. A body is read in chunks and never held."""
PROVIDERS = ("github", "gitlab", "gitea", "bitbucket", "generic")

_SIGNATURES = {
    "github": ("x-hub-signature-256",),
    "gitea": ("x-gitea-signature", "x-forgejo-signature", "x-gogs-signature"),
    "bitbucket": ("x-hub-signature",),
    "generic": ("x-guildnet-signature-256",),
}
_EVENTS = {
    "github": "x-github-event",
    "gitea": "x-gitea-event",
    "bitbucket": "x-event-key",
}
_BITBUCKET_TEST = "diagnostics:ping"
_PINGS = ("ping", _BITBUCKET_TEST)
_ALGORITHM = "sha256="


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a webhook, and whether to ask for a pass; `message` is for the sender."""

    code: int
    message: str
    look: bool = False


class Delivery:
    """One webhook while it arrives: `refusal` at once, or `add` every chunk, then `verdict`."""

    def __init__(
        self, provider: str, headers: Mapping[str, str], *, secret: bytes, branch: str
    ) -> None:
        """`headers` have lower-case names; `branch` is what the answer names."""
        self._provider = provider
        self._headers = headers
        self._secret = secret
        self._branch = branch
        self._bytes = 0
        self._body = hmac.new(secret, digestmod=hashlib.sha256)
        # Gitea and Forgejo sign the JSON that a form carries; GitHub signs the form.
        self._payload = hmac.new(secret, digestmod=hashlib.sha256)
        self._form = FormField(b"payload") if provider == "gitea" else None

    def refusal(self) -> Verdict | None:
        """The verdict where the headers alone decide it."""
        if self._provider not in PROVIDERS:
            known = ", ".join(PROVIDERS)
            return Verdict(404, f"no provider {self._provider[:50]!a}; there are {known}")
        if not self._secret:
            cure = "start the reconciler with --webhook-secret-file"
            return Verdict(403, f"webhooks are not taken without a secret: {cure}")
        if self._headers.get("content-encoding", "identity").strip().lower() != "identity":
            encoding = self._headers["content-encoding"][:50]
            return Verdict(415, f"content-encoding {encoding!a} is not taken: send it plain")
        if not self._given():
            return self._unsigned()
        length = self._headers.get("content-length", "0")
        return _too_large() if length.isdecimal() and _exceeds(length) else None

    def add(self, chunk: bytes) -> Verdict | None:
        """Take the next part of the body; a verdict where it is too large."""
        self._bytes += len(chunk)
        if self._bytes > MAX_BODY_BYTES:
            return _too_large()
        if self._provider != "gitlab":
            self._body.update(chunk)
        if self._form is not None:
            self._payload.update(self._form.add(chunk))
        return None

    def verdict(self) -> Verdict:
        """The verdict on the whole: 401 for a wrong signature, 200 for a ping, else 202."""
        if not self._is_authentic():
            return Verdict(401, "the signature is wrong: compare the secrets on both sides")
        if self._event() in _PINGS:
            return Verdict(200, "pong")
        return Verdict(202, f"queued: {self._branch[:100]} is looked at now", look=True)

    def _event(self) -> str:
        return self._headers.get(_EVENTS.get(self._provider, ""), "")

    def _given(self) -> list[bytes]:
        """The signatures, or GitLab's token, as sent."""
        names = _SIGNATURES.get(self._provider, ("x-gitlab-token",))
        # An HTTP library hands headers over as Latin-1, whatever they hold.
        found = (self._headers.get(name, "").encode("latin-1", "replace") for name in names)
        return [value for value in found if value]

    def _unsigned(self) -> Verdict:
        if self._provider == "bitbucket" and self._event() == _BITBUCKET_TEST:
            return Verdict(200, "pong; this test comes unsigned, so the secret was not compared")
        names = " or ".join(_SIGNATURES.get(self._provider, ("x-gitlab-token",)))
        return Verdict(401, f"{names} is missing: give the webhook the secret at the forge")

    def _is_authentic(self) -> bool:
        if self._provider == "gitlab":
            return any(hmac.compare_digest(given, self._secret) for given in self._given())
        digests = [self._body] if self._form is None else [self._body, self._payload]
        wanted = [digest.hexdigest().encode() for digest in digests]
        for given in self._given():
            value = given.strip().lower().removeprefix(_ALGORITHM.encode())
            if any(hmac.compare_digest(value, digest) for digest in wanted):
                return True
        return False


def _exceeds(length: str) -> bool:
    return len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES


def _too_large() -> Verdict:
    return Verdict(413, f"more than {MAX_BODY_BYTES} bytes")
