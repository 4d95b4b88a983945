"""Access control: where the dashboard may listen, host names, tokens, security headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guildnet.errors import ConfigurationError, GuildNetError
from guildnet.serving import host_name, is_local_name, parse_listen
from guildnet.tokens import is_token
from guildnet_dashboard.settings import Settings
from guildnet_dashboard.viewer import Viewer, set_viewer

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def check_exposure(settings: Settings) -> None:
    """Refuse settings that expose agents' work by accident. Raises ConfigurationError."""
    host, _ = parse_listen(settings.listen)
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ConfigurationError(
            "--tls-cert and --tls-key must be given together", cure="Give both, or neither."
        )
    if settings.tls_cert and settings.dev_tls:
        raise ConfigurationError(
            "--dev-tls and --tls-cert cannot be combined", cure="Give only one of them."
        )
    if is_local_name(host) or settings.insecure:
        return
    missing = []
    if not (settings.tls_cert or settings.dev_tls):
        missing.append("TLS (--tls-cert and --tls-key, or --dev-tls)")
    if settings.token_file is None and settings.sign_in is None:
        missing.append("a token (--token-file) or sign-in (--oidc-issuer)")
    if missing:
        raise ConfigurationError(
            f"{host} is reachable from other machines, which requires {' and '.join(missing)}",
            place=f"--listen {settings.listen}",
            cure="Add what is missing, listen on 127.0.0.1, or pass --insecure if a proxy in "
            "front provides TLS and authentication.",
        )


class Access(Protocol):
    """Decides who may read what."""

    @property
    def any_host(self) -> bool:
        """Whether requests for any host name are answered."""

    def is_open(self, path: str) -> bool:
        """Whether a path is answered without authentication."""

    def fault(self) -> str | None:
        """Why nobody can sign in now, "" if nothing is wrong; None without sign-in."""

    async def viewer(self, headers: Headers) -> Viewer | None:
        """The sender of a request; None if unknown. Raises GuildNetError for credentials that
        are refused."""

    def refusal(self, request: Request, why: GuildNetError | None) -> Response:
        """The answer to an unknown sender."""


class TokenAccess:
    """One token for every reader; None lets everyone read everything."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self.any_host = token is not None

    def is_open(self, path: str) -> bool:
        # Health probes carry no token; without one they get the status and nothing else.
        return path == "/api/health"

    def fault(self) -> str | None:
        return None

    async def viewer(self, headers: Headers) -> Viewer | None:
        is_known = self._token is None or is_token(headers.get("authorization", ""), self._token)
        return Viewer() if is_known else None

    def refusal(self, request: Request, why: GuildNetError | None) -> Response:
        del request, why
        return PlainTextResponse(
            "Authentication required. Send the dashboard's token as a Bearer token, or as the "
            "password with any user name.\n",
            status_code=401,
            headers={"WWW-Authenticate": 'Basic realm="GuildNet", charset="UTF-8"'},
        )


class Guard:
    """ASGI middleware: checks the host name and the sender, and adds the security headers."""

    def __init__(self, app: ASGIApp, *, access: Access, hosts: Iterable[str]) -> None:
        """`hosts`: names to answer to besides loopback names; "*" allows any name."""
        self._app = app
        self._access = access
        self._hosts = frozenset(host.casefold() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, answer = Request(scope), _with_headers(send)
        if not self._is_allowed_host(request.headers.get("host", "")):
            await _host_not_allowed()(scope, receive, answer)
            return
        why: GuildNetError | None = None
        viewer: Viewer | None = None
        try:
            viewer = await self._access.viewer(request.headers)
        except GuildNetError as error:
            why = error
        set_viewer(scope, viewer)
        if viewer is None and not self._access.is_open(scope["path"]):
            await self._access.refusal(request, why)(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)

    def _is_allowed_host(self, host: str) -> bool:
        if self._access.any_host or "*" in self._hosts:
            return True
        name = host_name(host.casefold())
        return is_local_name(name) or name in self._hosts


def _host_not_allowed() -> Response:
    return PlainTextResponse(
        "This host name is not allowed. Start the dashboard with --host NAME to allow it, or "
        "with --token-file.\n",
        status_code=421,
    )


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "private, no-cache")
        await send(message)

    return answer
