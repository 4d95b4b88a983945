"""Decides which requests may see the state of orgs, and which may ask for a pass.

Webhooks are signed, and probes only get whether we are ready. Everything else shows the names of
orgs and clusters, and errors: it is for requests from this machine, or with the token.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request

from guildnet.serving import host_name, is_local_name
from guildnet.tokens import is_token

_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class Access:
    """Checks requests. Without a token, only requests from this machine are trusted."""

    def __init__(self, token: Callable[[], str] | None) -> None:
        """`token` is called for each request."""
        self._token = token

    def may_read(self, request: Request) -> bool:
        """Whether details of readiness, and metrics, are shown."""
        return _is_local(request) or self._has_token(request)

    def may_sync(self, request: Request) -> bool:
        """Whether a pass may be asked for. With a token, only the token counts: requests
        through a proxy on this machine look local."""
        return _is_local(request) if self._token is None else self._has_token(request)

    def _has_token(self, request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return self._token is not None and is_token(given, self._token())


def _is_local(request: Request) -> bool:
    """From this machine, with a loopback name as Host, without a proxy's or web page's headers."""
    headers = request.headers
    if "origin" in headers or any(name in headers for name in _PROXY_HEADERS):
        return False
    peer = request.client.host if request.client else ""
    return is_local_name(peer) and is_local_name(host_name(headers.get("host", "")))
