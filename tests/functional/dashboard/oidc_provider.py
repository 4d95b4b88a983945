"""A small OpenID Connect provider on loopback: it signs real tokens, and can misbehave."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from guildnet.serving import BoundedServer, bind, http_config

CLIENT = "dashboard"
SECRET = "the secret/of+the dashboard"
Claims = dict[str, Any]


@dataclass(frozen=True)
class SigningKey:
    """A key pair with its ID."""

    kid: str
    algorithm: str
    private: Any

    def public(self) -> dict[str, Any]:
        kind = jwt.get_algorithm_by_name(self.algorithm)
        found: dict[str, Any] = kind.to_jwk(self.private.public_key(), as_dict=True)
        return {**found, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: Mapping[str, Any]) -> str:
        headers = {"kid": self.kid}
        return jwt.encode(dict(claims), self.private, self.algorithm, headers)


def rsa_key(kid: str) -> SigningKey:
    return SigningKey(kid, "RS256", rsa.generate_private_key(65537, 2048))


def ec_key(kid: str) -> SigningKey:
    return SigningKey(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))


@dataclass
class OidcProvider:
    """One provider with one client; every person who arrives is signed in as `person`."""

    issuer: str
    key: SigningKey = field(default_factory=lambda: ec_key("first"))
    person: Claims = field(default_factory=lambda: {"sub": "1", "preferred_username": "ada"})
    userinfo: Claims = field(default_factory=lambda: {"sub": "1"})
    id_token: Callable[[Claims], Any] | None = None
    """Makes the ID token from the claims that an honest provider would sign."""
    metadata: Claims = field(default_factory=dict)
    """Overrides of the metadata; None leaves an entry out."""
    hangs: set[str] = field(default_factory=set)
    down: bool = False
    error: str = ""
    """An error that the authorization endpoint answers with."""
    requests: list[str] = field(default_factory=list)
    authorizations: list[dict[str, str]] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def claims(self, audience: str = CLIENT, **changes: Any) -> Claims:
        """The claims of a token that is valid now; None leaves one out."""
        now = int(time.time())
        made = {"iss": self.issuer, "aud": audience, "iat": now, "exp": now + 300, **self.person}
        return {key: value for key, value in (made | changes).items() if value is not None}

    def token(self, **changes: Any) -> str:
        return self.key.sign(self.claims(**changes))

    def app(self) -> Starlette:
        routes = {
            "/.well-known/openid-configuration": self._configuration,
            "/authorize": self._authorize,
            "/token": self._token,
            "/jwks": self._jwks,
            "/userinfo": self._userinfo,
        }
        return Starlette(
            routes=[
                Route(path, self._watched(path, answer), methods=["GET", "POST"])
                for path, answer in routes.items()
            ]
        )

    def _watched(self, path: str, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def watched(request: Request) -> Response:
            self.requests.append(path)
            if path in self.hangs:
                await asyncio.Event().wait()
            if self.down:
                return Response("down", 503)
            made: Response = await answer(request)
            return made

        return watched

    async def _configuration(self, request: Request) -> Response:
        del request
        made = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "scopes_supported": ["openid", "profile", "groups"],
        }
        found = {k: v for k, v in (made | self.metadata).items() if v is not None}
        return JSONResponse(found)

    async def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        self.authorizations.append(query)
        answer = {"state": query["state"], "iss": self.issuer}
        if self.error:
            answer |= {"error": self.error, "error_description": "<b>no</b>"}
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = query
            answer["code"] = code
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", 302)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        name, _, password = base64.b64decode(value).decode().partition(":")
        if scheme != "Basic" or (unquote_plus(name), unquote_plus(password)) != (CLIENT, SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked["code_challenge_method"] != "S256" or challenge != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = self.claims(nonce=asked["nonce"])
        made = self.id_token(claims) if self.id_token else self.key.sign(claims)
        return JSONResponse({"access_token": "access", "token_type": "Bearer", "id_token": made})

    async def _jwks(self, request: Request) -> Response:
        del request
        return JSONResponse({"keys": [self.key.public()]})

    async def _userinfo(self, request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer access":
            return JSONResponse({"error": "invalid_token"}, 401)
        return JSONResponse(self.userinfo)


@asynccontextmanager
async def provided(certificate: tuple[Path, Path] | None = None) -> AsyncIterator[OidcProvider]:
    """A running provider; with a certificate and its key (PEM), it serves HTTPS."""
    listeners = bind("127.0.0.1", 0)
    scheme = "https" if certificate else "http"
    provider = OidcProvider(f"{scheme}://127.0.0.1:{listeners[0].getsockname()[1]}")
    server = BoundedServer(http_config(provider.app(), certificate=certificate), listeners)
    task = asyncio.create_task(server.serve())
    try:
        yield provider
    finally:
        server.should_exit = True
        await task
