"""Who may read, under which name, and what a browser may do with what it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guildnet.errors import ConfigurationError
from guildnet.serving import host_name, is_local_name, parse_listen
from guildnet.tokens import is_token
from guildnet_dashboard.settings import Settings

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
# A probe has no token; what it is told without one is a single word.
OPEN_PATHS = ("/api/health",)
AUTHENTICATED = "guildnet.authenticated"


def check_exposure(settings: Settings) -> None:
    """Refuse to show agents' work to a network by accident. Raises ConfigurationError."""
    host, _ = parse_listen(settings.listen)
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ConfigurationError(
            "a certificate and its key go together", cure="Give both --tls-cert and --tls-key."
        )
    if settings.tls_cert and settings.dev_tls:
        raise ConfigurationError(
            "two certificates", cure="Give either --dev-tls or --tls-cert, not both."
        )
    if is_local_name(host) or settings.insecure:
        return
    lacking = []
    if not (settings.tls_cert or settings.dev_tls):
        lacking.append("no TLS (--tls-cert and --tls-key, or --dev-tls)")
    if settings.token_file is None:
        lacking.append("no token (--token-file)")
    if lacking:
        raise ConfigurationError(
            f"{host} is open to other machines, and there is {' and '.join(lacking)}",
            place=f"--listen {settings.listen}",
            cure="Give them, listen on 127.0.0.1, or say --insecure where something in front "
            "gives both.",
        )


class Guard:
    """ASGI middleware: names, token, methods' answers and headers for everything served."""

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Iterable[str]) -> None:
        """`hosts` are the names answered to besides loopback ones; "*" is any."""
        self._app = app
        self._token = token
        self._hosts = frozenset(host.casefold() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = _with_headers(send)
        known = self._is_known(headers)
        scope[AUTHENTICATED] = known
        if not self._is_our_name(headers.get("host", "")):
            await _wrong_name()(scope, receive, answer)
        elif not known and scope["path"] not in OPEN_PATHS:
            await _token_needed()(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)

    def _is_our_name(self, host: str) -> bool:
        if self._token is not None or "*" in self._hosts:
            return True
        name = host_name(host.casefold())
        return is_local_name(name) or name in self._hosts

    def _is_known(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        return is_token(headers.get("authorization", ""), self._token)


def _token_needed() -> Response:
    return PlainTextResponse(
        "This dashboard needs its token: as a Bearer token, or as the password with any user "
        "name.\n",
        status_code=401,
        headers={"WWW-Authenticate": 'Basic realm="GuildNet", charset="UTF-8"'},
    )


def _wrong_name() -> Response:
    return PlainTextResponse(
        "The dashboard does not answer to this host name. Start it with --host NAME to allow "
        "one, or with a token.\n",
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
