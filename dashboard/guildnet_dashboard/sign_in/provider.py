"""The OpenID Connect provider: its metadata, its keys, and the exchange of codes for tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx

from guildnet.errors import ConfigurationError
from guildnet.http_exchange import read_bounded, trust
from guildnet.proxies import environment_proxy
from guildnet.redact import strip_urls
from guildnet.secret_files import read_secret
from guildnet.serving import is_local_name
from guildnet.text import clean_text
from guildnet.urls import url_fault
from guildnet_dashboard.settings import SignInSettings
from guildnet_dashboard.sign_in.errors import ProviderUnavailable, SignInRefused, TokenRejected
from guildnet_dashboard.sign_in.refreshed import Refreshed
from guildnet_dashboard.sign_in.tokens import KeySet, UnknownKey, key_set, verified_claims

MAX_ANSWER_BYTES = 256 * 1024
_DEADLINE_SECONDS = 10.0
_MAX_AGE = timedelta(hours=1)
_DISCOVERY = "/.well-known/openid-configuration"
_CURE = "Check --oidc-issuer, and that the provider is running and reachable from here."


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the provider says about itself (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    end_session_endpoint: str
    scopes: frozenset[str]
    secret_in_body: bool
    """Whether the token endpoint takes the client's secret in the body only."""


class Provider:
    """Talks to one provider. Nothing is fetched before it is needed."""

    def __init__(self, settings: SignInSettings) -> None:
        """Raises ConfigurationError for an unusable issuer or certificate file."""
        self._settings = settings
        self._issuer = checked_issuer(settings.issuer)
        self._authorities = _authorities(settings)
        self._metadata: Refreshed[Metadata] = Refreshed(self._discover, _MAX_AGE)
        self._keys: Refreshed[KeySet] = Refreshed(self._fetch_keys, _MAX_AGE)

    def check(self) -> ProviderUnavailable | None:
        """Why the provider could not be asked last time; None if it answered, or was not asked.

        Starts to ask it in the background if its last answer is old or was a failure.
        """
        self._metadata.refresh_if_due()
        if self._keys.failure is not None:
            self._keys.refresh_if_due()
        return self._metadata.failure or self._keys.failure

    async def metadata(self) -> Metadata:
        """Raises ProviderUnavailable."""
        return await self._metadata.get()

    async def verified_claims(self, token: str, audience: str) -> Mapping[str, Any]:
        """The claims of a token that the provider signed for `audience`.

        Raises TokenRejected, or ProviderUnavailable without any key to verify with.
        """
        issuer = (await self._metadata.get()).issuer
        keys = await self._keys.get()
        try:
            return verified_claims(token, keys, issuer=issuer, audience=audience)
        except UnknownKey:
            keys = await self._keys.renew()
            return verified_claims(token, keys, issuer=issuer, audience=audience)

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> Mapping[str, Any]:
        """The token endpoint's answer to an authorization code.

        Raises SignInRefused where the provider refuses the code or the client.
        """
        metadata = await self._metadata.get()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        secret = self._secret()
        if secret is None or metadata.secret_in_body:
            form["client_id"] = self._settings.client_id
        if secret is not None and metadata.secret_in_body:
            form["client_secret"] = secret
        elif secret is not None:
            # RFC 6749, 2.3.1: both are encoded as in forms before they are put together.
            auth = httpx.BasicAuth(quote_plus(self._settings.client_id), quote_plus(secret))
        return await self._request("POST", metadata.token_endpoint, form=form, auth=auth)

    async def userinfo(self, access_token: str, subject: str) -> Mapping[str, Any]:
        """Claims from the userinfo endpoint; {} where the provider has none.

        Raises TokenRejected for the claims of another person.
        """
        endpoint = (await self._metadata.get()).userinfo_endpoint
        if not endpoint:
            return {}
        claims = await self._request("GET", endpoint, bearer=access_token)
        if claims.get("sub") != subject:
            raise TokenRejected("the userinfo endpoint answered for another person")
        return claims

    def _secret(self) -> str | None:
        path = self._settings.client_secret_file
        return None if path is None else read_client_secret(path)

    async def _discover(self) -> Metadata:
        content = await self._fetched(self._issuer + _DISCOVERY)
        issuer = _text(content, "issuer")
        if issuer.rstrip("/") != self._issuer:
            raise ProviderUnavailable(
                f"the provider calls itself {clean_text(issuer, 200)!r}",
                place=self._issuer,
                cure="Pass exactly that URL as --oidc-issuer.",
            )
        methods = content.get("token_endpoint_auth_methods_supported")
        scopes = content.get("scopes_supported")
        return Metadata(
            issuer=issuer,
            authorization_endpoint=self._endpoint(content, "authorization_endpoint"),
            token_endpoint=self._endpoint(content, "token_endpoint"),
            jwks_uri=self._endpoint(content, "jwks_uri"),
            userinfo_endpoint=self._endpoint(content, "userinfo_endpoint", optional=True),
            end_session_endpoint=self._endpoint(content, "end_session_endpoint", optional=True),
            scopes=frozenset(s for s in scopes if isinstance(s, str))
            if isinstance(scopes, list)
            else frozenset(),
            secret_in_body=isinstance(methods, list)
            and "client_secret_basic" not in methods
            and "client_secret_post" in methods,
        )

    async def _fetch_keys(self) -> KeySet:
        address = (await self._metadata.get()).jwks_uri
        try:
            return key_set(await self._fetched(address))
        except ValueError as error:
            raise ProviderUnavailable(str(error), place=address, cure=_CURE) from error

    def _endpoint(self, content: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
        """An endpoint's URL. One without TLS is accepted on this machine only."""
        url = _text(content, name)
        if not url and optional:
            return ""
        if url_fault(url) is not None or not is_protected(url):
            raise ProviderUnavailable(
                f"the provider's {name} is not an https:// URL: {clean_text(url, 200)!r}",
                place=self._issuer + _DISCOVERY,
                cure="Correct the provider's configuration.",
            )
        return url

    async def _fetched(self, url: str) -> Mapping[str, Any]:
        try:
            return await self._request("GET", url)
        except SignInRefused as error:
            raise ProviderUnavailable(error.message, place=error.place, cure=_CURE) from error

    async def _request(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        bearer: str = "",
    ) -> Mapping[str, Any]:
        """Send one request and return the JSON object of its answer.

        Raises ProviderUnavailable, or SignInRefused for a status from 400 to 499.
        """
        headers = {"Accept": "application/json", "User-Agent": "guildnet"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        try:
            async with (
                asyncio.timeout(_DEADLINE_SECONDS),
                httpx.AsyncClient(
                    verify=trust(self._authorities),
                    proxy=environment_proxy(url),
                    trust_env=False,
                    timeout=_DEADLINE_SECONDS,
                ) as client,
                client.stream(method, url, data=form, auth=auth, headers=headers) as response,
            ):
                content = await read_bounded(response, MAX_ANSWER_BYTES)
        except TimeoutError as error:
            message = f"no complete answer within {_DEADLINE_SECONDS:.0f} s"
            raise ProviderUnavailable(message, place=url, cure=_CURE) from error
        # httpx, httpcore, h11, ssl and zlib each raise errors of their own for malformed answers.
        except Exception as error:
            reason = strip_urls(clean_text(str(error) or type(error).__name__, 200))
            raise ProviderUnavailable(f"no answer: {reason}", place=url, cure=_CURE) from error
        return _checked(response.status_code, content, url)


def is_protected(url: str) -> bool:
    """Whether nobody on the way can read or change what is sent to an http or https URL."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (
        parts.scheme == "http" and is_local_name(parts.hostname or "")
    )


def checked_issuer(issuer: str) -> str:
    """The issuer without a trailing slash. Raises ConfigurationError."""
    fault = url_fault(issuer)
    if fault is None and not is_protected(issuer):
        fault = "not an https:// URL"
    if fault is None and (urlsplit(issuer).query or urlsplit(issuer).fragment):
        fault = "it has a query or a fragment"
    if fault is not None:
        raise ConfigurationError(
            f"the issuer cannot be used: {fault}",
            place="--oidc-issuer",
            cure="Give the provider's issuer URL, such as https://id.example/realms/main.",
        )
    return issuer.rstrip("/")


def read_client_secret(path: Any) -> str:
    """The client's secret. Raises ConfigurationError for a missing or empty file."""
    secret = read_secret(path)
    if not secret:
        raise ConfigurationError(
            "the client's secret is missing",
            place=str(path),
            cure="Write the secret that the provider shows for this client into the file.",
        )
    return secret


def _authorities(settings: SignInSettings) -> str | None:
    if settings.ca_file is None:
        return None
    text = read_secret(settings.ca_file)
    try:
        trust(text or "")
    except ConfigurationError as error:
        raise ConfigurationError(
            "not a file with certificates in PEM form",
            place=f"--oidc-ca-file {settings.ca_file}",
            cure="Give a file whose certificates begin with -----BEGIN CERTIFICATE-----.",
        ) from error
    return text


def _checked(status: int, content: bytes, url: str) -> Mapping[str, Any]:
    """The JSON object of a successful answer. Error texts never quote what was sent."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    answer: Mapping[str, Any] = value if isinstance(value, dict) else {}
    if 400 <= status < 500 and status not in (408, 425, 429):
        reason = clean_text(_text(answer, "error") or str(status), 60)
        raise SignInRefused(
            f"the provider refused the request: {reason}", place=url, cure=_REFUSALS.get(reason)
        )
    if status != 200 or not isinstance(value, dict):
        what = f"status {status}" if status != 200 else "the answer is not a JSON object"
        raise ProviderUnavailable(what, place=url, cure=_CURE)
    return answer


_REFUSALS = {
    "invalid_client": "Check --oidc-client-id and the content of --oidc-client-secret-file.",
    "invalid_grant": "Sign in again. If that does not help, compare the redirect URI that is "
    "registered at the provider with --public-url.",
    "unauthorized_client": "Allow the authorization code flow for this client at the provider.",
}


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    return value if isinstance(value, str) else ""
