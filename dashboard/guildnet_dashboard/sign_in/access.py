"""Decides who sent a request: by the session in its cookie, a bearer JWT, or the token."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from guildnet.errors import GuildNetError
from guildnet.tokens import is_token
from guildnet_dashboard.sign_in.claims import OrgRules, person_name
from guildnet_dashboard.sign_in.errors import ProviderUnavailable, TokenRejected
from guildnet_dashboard.sign_in.provider import Provider
from guildnet_dashboard.sign_in.return_path import return_path
from guildnet_dashboard.sign_in.sessions import Signer, read_session
from guildnet_dashboard.sign_in.tokens import expiry_of
from guildnet_dashboard.viewer import Viewer

SIGN_IN = "/signin"
CALLBACK = "/signin/callback"
SIGN_OUT = "/signout"
SIGNED_OUT = "/signed-out"
#: Anyone may ask for these. The files below /static are those of this package.
_OPEN = (SIGN_IN, CALLBACK, SIGN_OUT, SIGNED_OUT, "/api/health")
_OPEN_FOLDER = "/static/"
_MAX_COOKIE_BYTES = 16 * 1024


@dataclass(frozen=True)
class Cookies:
    """The names and attributes of the cookies.

    With HTTPS the names begin with `__Host-`: no other host can set such a cookie, and it is never
    sent without TLS. Without, the dashboard is reached on loopback only.
    """

    is_secure: bool

    @property
    def session(self) -> str:
        return self._name("guildnet-session")

    @property
    def binding(self) -> str:
        return self._name("guildnet-signin")

    def set(self, response: Response, name: str, value: str, max_age: float) -> None:
        response.set_cookie(
            name,
            value,
            int(max_age),
            path="/",
            secure=self.is_secure,
            httponly=True,
            samesite="lax",
        )

    def drop(self, response: Response, name: str) -> None:
        self.set(response, name, "", 0)

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self.is_secure else name


def cookies_in(headers: Headers) -> Mapping[str, str]:
    """The cookies of a request; {} for more than 16 KiB of them."""
    header = "; ".join(headers.getlist("cookie"))
    return cookie_parser(header) if len(header) <= _MAX_COOKIE_BYTES else {}


@dataclass(frozen=True)
class SignInAccess:
    """Access control with sign-in. `token` is the content of the token file; None without one."""

    provider: Provider
    rules: OrgRules
    signer: Signer
    cookies: Cookies
    public_url: str
    audience: str
    token: str | None

    any_host = True
    """A page of another host name is sent no cookie, so DNS rebinding reads nothing."""

    def is_open(self, path: str) -> bool:
        return path in _OPEN or path.startswith(_OPEN_FOLDER)

    async def viewer(self, headers: Headers) -> Viewer | None:
        """Raises TokenRejected for a JWT, and ProviderUnavailable where it cannot be verified."""
        authorization = headers.get("authorization", "")
        if authorization:
            return await self._bearer(authorization)
        value = cookies_in(headers).get(self.cookies.session, "")
        return read_session(self.signer, value, time.time())

    def fault(self) -> str:
        """Why nobody can sign in now, as far as is known; "" if nothing is wrong.

        Asks the provider in the background where that is due.
        """
        failure = self.provider.check()
        return "" if failure is None else str(failure)

    async def _bearer(self, authorization: str) -> Viewer | None:
        if self.token is not None and is_token(authorization, self.token):
            return Viewer()
        scheme, _, value = authorization.partition(" ")
        if scheme.casefold() != "bearer" or value.count(".") != 2:
            return None
        claims = await self.provider.verified_claims(value.strip(), self.audience)
        return Viewer(person_name(claims), self.rules.orgs(claims), expiry_of(claims))

    def refusal(self, request: Request, why: GuildNetError | None) -> Response:
        """Browsers that load a page are sent to sign in; anything else gets 401, or 503 while
        the provider's keys are unknown."""
        if isinstance(why, ProviderUnavailable):
            return _plain(503, f"The token cannot be verified: {why}\n", {"Retry-After": "5"})
        if why is None and _is_navigation(request):
            path, query = request.scope["path"], request.scope["query_string"]
            address = sign_in_address(self.public_url, path, query.decode("latin-1"))
            return RedirectResponse(address, 302)
        challenge = 'Bearer realm="GuildNet"'
        if isinstance(why, TokenRejected):
            challenge += ', error="invalid_token"'
        message = why.message if why else "sign in, or send a bearer token"
        return _plain(
            401, f"Authentication required: {message}.\n", {"WWW-Authenticate": challenge}
        )


def _is_navigation(request: Request) -> bool:
    """Whether a browser asks for a page to show, and not a script or program for data."""
    headers = request.headers
    is_page = request.method == "GET" and not request.url.path.startswith("/api/")
    is_shown = headers.get("sec-fetch-mode", "navigate") == "navigate"
    return is_page and is_shown and "text/html" in headers.get("accept", "")


def sign_in_address(public_url: str, path: str, query: str) -> str:
    """The address that begins a sign-in and returns to this page."""
    back = return_path(quote(path) + (f"?{query}" if query else "")) or "/"
    return public_url + SIGN_IN + ("?" + urlencode({"return": back}) if back != "/" else "")


def _plain(status: int, text: str, headers: Mapping[str, str]) -> Response:
    return PlainTextResponse(text, status, headers=dict(headers))
