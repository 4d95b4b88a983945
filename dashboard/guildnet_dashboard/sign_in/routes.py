"""The pages of the flow: begin a sign-in, the provider's answer, sign out.

They are the only routes that change something, and only in the browser: its cookies. Signing out
is a POST from one of the dashboard's own pages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from guildnet.errors import GuildNetError
from guildnet.text import clean_text
from guildnet_dashboard.routing import read_only
from guildnet_dashboard.settings import SignInSettings
from guildnet_dashboard.sign_in.access import (
    CALLBACK,
    SIGN_IN,
    SIGN_OUT,
    SIGNED_OUT,
    SignInAccess,
    cookies_in,
)
from guildnet_dashboard.sign_in.claims import person_name
from guildnet_dashboard.sign_in.errors import ProviderUnavailable, SignInRefused
from guildnet_dashboard.sign_in.messages import Messages
from guildnet_dashboard.sign_in.return_path import return_path
from guildnet_dashboard.sign_in.sessions import (
    SIGN_IN_LIFETIME,
    SessionTooLarge,
    SignInState,
    begin,
    is_binding,
    new_binding,
    resume,
    session_value,
)
from guildnet_dashboard.sign_in.tokens import check_id_token
from guildnet_dashboard.viewer import Viewer

log = logging.getLogger(__name__)

_MAX_PARAMETER = 4096
Parameter = Annotated[str, Query(max_length=_MAX_PARAMETER)]


def sign_in_routes(settings: SignInSettings, access: SignInAccess, pages: Messages) -> APIRouter:
    """The routes of sign-in."""
    router = APIRouter(include_in_schema=False)
    flow = _Flow(settings, access)

    @read_only(router, SIGN_IN)
    async def sign_in(
        request: Request,
        back: Annotated[str, Query(alias="return", max_length=_MAX_PARAMETER)] = "/",
    ) -> Response:
        path = return_path(back)
        if path is None:
            return pages.refused("The page to return to is not a page of this dashboard.", "")
        try:
            return await flow.begin(request, path)
        except GuildNetError as error:
            return pages.failed(error, path)

    @read_only(router, CALLBACK)
    async def callback(  # noqa: PLR0917
        request: Request,
        state: Parameter = "",
        code: Parameter = "",
        iss: Parameter = "",
        error: Parameter = "",
        error_description: Parameter = "",
    ) -> Response:
        started = flow.resume(request, state)
        if started is None:
            return pages.refused(
                "This sign-in was not started by this browser, or more than 30 minutes ago.",
                "Sign in again. The browser must accept cookies of this host.",
            )
        try:
            if error:
                raise SignInRefused(f"the provider refused: {_shown(error, error_description)}")
            return await flow.finish(started, code, iss)
        except GuildNetError as failure:
            return pages.failed(failure, started.return_path)

    @router.post(SIGN_OUT)
    def sign_out(request: Request) -> Response:
        if not _is_own_form(request, access.public_url):
            return pages.refused("Sign out with the button on a page of this dashboard.", "")
        answer = RedirectResponse(SIGNED_OUT, 303)
        access.cookies.drop(answer, access.cookies.session)
        return answer

    @read_only(router, SIGNED_OUT)
    async def signed_out() -> Response:
        return pages.signed_out(await flow.end_session_address())

    return router


class _Flow:
    """The steps of the authorization code flow."""

    def __init__(self, settings: SignInSettings, access: SignInAccess) -> None:
        self._settings = settings
        self._access = access
        self._redirect_uri = access.public_url + CALLBACK

    async def begin(self, request: Request, back: str) -> Response:
        """Send the browser to the provider."""
        access = self._access
        metadata = await access.provider.metadata()
        binding = cookies_in(request.headers).get(access.cookies.binding, "")
        if not is_binding(binding):
            binding = new_binding()
        state = begin(access.signer, binding, back, time.time())
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(("openid", *self._scopes(metadata.scopes))),
            "state": state.value,
            "nonce": state.nonce,
            "code_challenge": state.challenge,
            "code_challenge_method": "S256",
        }
        answer = RedirectResponse(with_query(metadata.authorization_endpoint, query), 302)
        lifetime = SIGN_IN_LIFETIME.total_seconds()
        access.cookies.set(answer, access.cookies.binding, binding, lifetime)
        return answer

    def resume(self, request: Request, state: str) -> SignInState | None:
        """The sign-in that this browser began; None for any other."""
        binding = cookies_in(request.headers).get(self._access.cookies.binding, "")
        if not is_binding(binding):
            return None
        return resume(self._access.signer, binding, state, time.time())

    async def finish(self, started: SignInState, code: str, iss: str) -> Response:
        """Exchange the code, and set the session's cookie. Raises SignInError."""
        access, settings = self._access, self._settings
        metadata = await access.provider.metadata()
        if iss and iss != metadata.issuer:
            raise SignInRefused("the answer comes from another provider")
        tokens = await access.provider.exchange(code, started.verifier, self._redirect_uri)
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise SignInRefused(
                "the provider sent no ID token",
                cure="Register the dashboard at the provider as an OpenID Connect client.",
            )
        claims = await access.provider.verified_claims(id_token, settings.client_id)
        check_id_token(claims, client_id=settings.client_id, nonce=started.nonce)
        claims = await self._with_groups(claims, tokens)
        expires = time.time() + settings.session_lifetime.total_seconds()
        viewer = Viewer(person_name(claims), access.rules.orgs(claims), expires)
        answer = RedirectResponse(access.public_url + started.return_path, 303)
        lifetime = settings.session_lifetime.total_seconds()
        access.cookies.set(answer, access.cookies.session, self._session(viewer, expires), lifetime)
        log.info("%s signed in and sees %s", viewer.name, _count(viewer))
        return answer

    async def end_session_address(self) -> str | None:
        """Where the person can sign out of the provider too; None if it offers no such page."""
        try:
            endpoint = (await self._access.provider.metadata()).end_session_endpoint
        except ProviderUnavailable:
            return None
        query = {
            "client_id": self._settings.client_id,
            "post_logout_redirect_uri": self._access.public_url + SIGNED_OUT,
        }
        return with_query(endpoint, query) if endpoint else None

    async def _with_groups(
        self, claims: Mapping[str, Any], tokens: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The claims with those of the userinfo endpoint, if the ID token has no groups."""
        token = tokens.get("access_token")
        if not self._access.rules.is_missing(claims) or not isinstance(token, str):
            return claims
        return {**await self._access.provider.userinfo(token, claims["sub"]), **claims}

    def _session(self, viewer: Viewer, expires: float) -> str:
        try:
            return session_value(self._access.signer, viewer, expires)
        except SessionTooLarge as error:
            raise SignInRefused(
                f"{len(viewer.orgs or ())} orgs do not fit into a session",
                cure="Grant fewer orgs with --oidc-org-map-file, or all of them with "
                "--oidc-admin-group.",
            ) from error

    def _scopes(self, offered: frozenset[str]) -> tuple[str, ...]:
        if self._settings.scopes:
            return self._settings.scopes
        return ("profile", "groups") if "groups" in offered else ("profile",)


def with_query(address: str, query: Mapping[str, str]) -> str:
    """The address with these parameters after those that it has."""
    return address + ("&" if "?" in address else "?") + urlencode(query)


def _is_own_form(request: Request, public_url: str) -> bool:
    """Whether a page of the dashboard sent the form. Only older browsers send no Sec-Fetch-Site;
    the others give no origin, because of the pages' referrer policy."""
    site = request.headers.get("sec-fetch-site")
    return site == "same-origin" or (site is None and request.headers.get("origin") == public_url)


def _shown(error: str, description: str) -> str:
    return clean_text(f"{error}: {description}" if description else error, 300)


def _count(viewer: Viewer) -> str:
    return "all orgs" if viewer.orgs is None else f"{len(viewer.orgs)} orgs"
