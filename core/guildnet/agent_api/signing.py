"""HMAC of the agent API's requests and answers; pure.

The API server's proxy strips ``Authorization``, and the key must not travel: both sides hold it
and sign. A request is signed over method, target, nonce and body; its answer over the same nonce,
status and body, so that neither can be replayed, moved to another path or forged by whoever else
listens in the agent's pod. How requests travel belongs to the two sides.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections import OrderedDict

from guildnet.digest import sha256_hex
from guildnet.errors import AgentAnswerRejected, AgentError

AUTH_HEADER = "X-GuildNet-Auth"
SIGNATURE_HEADER = "X-GuildNet-Signature"
_VERSION = "v1"
_NONCE = re.compile(r"[0-9a-f]{32}\Z")


class RequestRejected(AgentError):
    """A request that is unsigned, wrongly signed or seen before."""


class NonceMemory:
    """The nonces a server has taken, newest ``limit`` of them.

    A request's nonce is taken once. Forgetting the oldest bounds the memory; at one request a
    second the default remembers eighteen hours.
    """

    def __init__(self, limit: int = 65_536) -> None:
        self._limit = limit
        self._taken: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, nonce: str) -> bool:
        """True the first time this nonce comes, False when it came before."""
        if nonce in self._taken:
            return False
        self._taken[nonce] = None
        if len(self._taken) > self._limit:
            self._taken.popitem(last=False)
        return True


def parse_key(text: str | bytes) -> bytes:
    """The key of a Secret's ``api-key``: 64 hex digits. Raises ValueError, without the value."""
    try:
        key = bytes.fromhex(text.decode() if isinstance(text, bytes) else text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError("an agent API key is 64 hex digits")
    return key


def new_nonce() -> str:
    """32 random hex digits."""
    return secrets.token_hex(16)


def request_auth(key: bytes, nonce: str, method: str, target: str, body: bytes = b"") -> str:
    """The value of ``X-GuildNet-Auth``; ``target`` is the path with its query, as the server
    sees it."""
    return f"{_VERSION} {nonce} {_mac(key, method.upper(), target, nonce, sha256_hex(body))}"


def verify_request(  # noqa: PLR0917
    key: bytes, header: str | None, method: str, target: str, body: bytes, nonces: NonceMemory
) -> str:
    """The nonce of a rightly signed, new request; RequestRejected otherwise.

    The nonce is taken only from a rightly signed request, so strangers cannot fill the memory.
    """
    parts = (header or "").split(" ")
    if len(parts) != 3 or parts[0] != _VERSION or not _NONCE.match(parts[1]):
        raise RequestRejected(f"no {AUTH_HEADER} of version {_VERSION}")
    nonce = parts[1]
    if not _is_equal(request_auth(key, nonce, method, target, body), header or ""):
        raise RequestRejected("the signature does not match")
    if not nonces.take(nonce):
        raise RequestRejected("this nonce was used before")
    return nonce


def answer_signature(key: bytes, nonce: str, status: int, body: bytes = b"") -> str:
    """The value of ``X-GuildNet-Signature`` for the answer to the request with ``nonce``."""
    return f"{_VERSION} {_mac(key, 'answer', nonce, str(status), sha256_hex(body))}"


def verify_answer(key: bytes, header: str | None, nonce: str, status: int, body: bytes) -> None:
    """AgentAnswerRejected unless the answer is signed by the agent for this very request."""
    if not header:
        raise AgentAnswerRejected("the answer is not signed")
    if not _is_equal(answer_signature(key, nonce, status, body), header):
        raise AgentAnswerRejected("the answer's signature does not match")


def _mac(key: bytes, *parts: str) -> str:
    return hmac.digest(key, "\n".join(parts).encode(), "sha256").hex()


def _is_equal(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())
