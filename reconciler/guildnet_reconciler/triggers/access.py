"""Which requests may see how things stand, and which may ask for a pass.

Webhooks are signed, and probes learn one word. Everything else shows names of orgs, clusters and
errors, so it is for this machine and for holders of the token.
"""

from __future__ import annotations

from fastapi import Request

from guildnet.serving import host_name, is_local_name
from guildnet.tokens import is_token

_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class Access:
    """Judges requests. Without a token, only requests from this machine are trusted."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def may_read(self, request: Request) -> bool:
        """Whether details of readiness, and metrics, are shown."""
        return _is_local(request) or self._has_token(request)

    def may_sync(self, request: Request) -> bool:
        """Whether a pass may be asked for. A token decides alone: a proxy on this machine makes
        strangers look local, and need not say so."""
        return _is_local(request) if self._token is None else self._has_token(request)

    def _has_token(self, request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return self._token is not None and is_token(given, self._token)


def _is_local(request: Request) -> bool:
    """From this machine, under a name of it, by no proxy that says so and by no web page."""
    headers = request.headers
    if "origin" in headers or any(name in headers for name in _PROXY_HEADERS):
        return False
    peer = request.client.host if request.client else ""
    return is_local_name(peer) and is_local_name(host_name(headers.get("host", "")))
