"""What browsers keep during and after sign-in: values signed by the dashboard. Pure.

A value holds its purpose, its content and the time it ends; nobody without a key can make or
change one, and one made for a purpose is refused for any other. The content is readable by the
browser that keeps it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from guildnet.digest import canonical_json
from guildnet.names import is_name
from guildnet_dashboard.sign_in.return_path import return_path
from guildnet_dashboard.viewer import Viewer

#: Browsers drop cookies whose name, value and attributes have more than 4,096 bytes.
MAX_VALUE_BYTES = 3800
#: People read mails and find their phones in the middle of a sign-in.
SIGN_IN_LIFETIME = timedelta(minutes=30)

_SESSION = "session"
_STATE = "state"


class SessionTooLarge(ValueError):
    """The orgs of a person do not fit into a cookie."""


@dataclass(frozen=True)
class Signer:
    """Signs with the first key, and accepts values signed with any of the keys."""

    keys: Sequence[bytes]

    def sign(self, purpose: str, content: Mapping[str, Any], expires: float) -> str:
        """`expires` is in seconds since the epoch."""
        body = _encode(canonical_json({"content": content, "expires": int(expires)}))
        return f"{body}.{_mac(self.keys[0], purpose, body)}"

    def read(self, purpose: str, value: str, now: float) -> tuple[Mapping[str, Any], float] | None:
        """(content, expires) of a value that this signer made for `purpose` and that has not
        ended; None for any other text."""
        body, _, mac = value.partition(".")
        if len(value) > MAX_VALUE_BYTES or not value.isascii():
            return None
        if not any(hmac.compare_digest(mac, _mac(key, purpose, body)) for key in self.keys):
            return None
        made = json.loads(_decode(body))
        return (made["content"], made["expires"]) if now < made["expires"] else None


@dataclass(frozen=True, slots=True)
class SignInState:
    """One sign-in, from the request to the provider until the answer.

    `value` is the parameter `state`. `nonce` and `verifier` (of PKCE) are derived from it and from
    the secret in the browser's cookie: only the browser that began the sign-in can finish it, and
    any number of its tabs can sign in at once.
    """

    value: str
    nonce: str
    verifier: str
    return_path: str

    @property
    def challenge(self) -> str:
        """The PKCE code challenge, by S256 (RFC 7636, 4.2)."""
        return _encode(hashlib.sha256(self.verifier.encode()).digest())


def new_binding() -> str:
    """A secret for the cookie that binds sign-ins to one browser."""
    return secrets.token_urlsafe(32)


def is_binding(value: str) -> bool:
    return len(value) == 43 and value.isascii()


def begin(signer: Signer, binding: str, back: str, now: float) -> SignInState:
    content = {"id": secrets.token_urlsafe(16), "for": _digest("binding", binding), "back": back}
    value = signer.sign(_STATE, content, now + SIGN_IN_LIFETIME.total_seconds())
    return _state(value, binding, back)


def resume(signer: Signer, binding: str, value: str, now: float) -> SignInState | None:
    """The sign-in that this browser began; None for one of another browser, or one that ended."""
    found = signer.read(_STATE, value, now)
    if found is None or not hmac.compare_digest(found[0]["for"], _digest("binding", binding)):
        return None
    return _state(value, binding, return_path(found[0]["back"]) or "/")


def session_value(signer: Signer, viewer: Viewer, expires: float) -> str:
    """Raises SessionTooLarge where the viewer's orgs do not fit into a cookie."""
    orgs = None if viewer.orgs is None else sorted(viewer.orgs)
    value = signer.sign(_SESSION, {"name": viewer.name, "orgs": orgs}, expires)
    if len(value) > MAX_VALUE_BYTES:
        raise SessionTooLarge(f"{len(value)} bytes")
    return value


def read_session(signer: Signer, value: str, now: float) -> Viewer | None:
    """The viewer of a session; None for an ended session, and for any other text."""
    found = signer.read(_SESSION, value, now)
    if found is None:
        return None
    content, expires = found
    orgs = content["orgs"]
    seen = None if orgs is None else frozenset(filter(is_name, orgs))
    return Viewer(content["name"], seen, expires)


def _state(value: str, binding: str, back: str) -> SignInState:
    return SignInState(
        value, _digest("nonce", binding, value), _digest("verifier", binding, value), back
    )


def _digest(purpose: str, secret: str, text: str = "") -> str:
    return _encode(hmac.digest(secret.encode(), f"{purpose}:{text}".encode(), "sha256"))


def _mac(key: bytes, purpose: str, body: str) -> str:
    return _encode(hmac.digest(key, f"guildnet-{purpose}:{body}".encode(), "sha256"))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64") from error
