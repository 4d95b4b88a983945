"""Puts sign-in together from its settings."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from fastapi import APIRouter

from guildnet.errors import ConfigurationError
from guildnet.serving import is_local_name, parse_listen
from guildnet.urls import url_fault
from guildnet_dashboard.rendering import Renderer
from guildnet_dashboard.settings import Settings, SignInSettings
from guildnet_dashboard.sign_in.access import Cookies, SignInAccess
from guildnet_dashboard.sign_in.claims import OrgRules, read_org_map
from guildnet_dashboard.sign_in.keys import kept_signer, session_signer
from guildnet_dashboard.sign_in.messages import Messages
from guildnet_dashboard.sign_in.provider import Provider, is_protected, read_client_secret
from guildnet_dashboard.sign_in.routes import sign_in_routes

_LIFETIMES = (timedelta(minutes=1), timedelta(days=1))


def set_up_sign_in(
    settings: Settings, sign_in: SignInSettings, token: str | None, renderer: Renderer
) -> tuple[SignInAccess, APIRouter]:
    """Access control, and the routes of sign-in.

    Raises ConfigurationError for unusable settings and files. The provider is not asked: the
    dashboard starts without it.
    """
    _check(sign_in)
    public_url = checked_public_url(settings, sign_in)
    mapping = read_org_map(sign_in.org_map_file) if sign_in.org_map_file else None
    signer = (
        session_signer(sign_in.session_key_file)
        if sign_in.session_key_file
        else kept_signer(settings.state_dir / "dashboard")
    )
    access = SignInAccess(
        provider=Provider(sign_in),
        rules=OrgRules(sign_in.org_claim, mapping, frozenset(sign_in.admin_groups)),
        signer=signer,
        cookies=Cookies(public_url.startswith("https://")),
        public_url=public_url,
        audience=sign_in.audience or sign_in.client_id,
        token=token,
    )
    return access, sign_in_routes(sign_in, access, Messages(renderer))


def _check(sign_in: SignInSettings) -> None:
    shortest, longest = _LIFETIMES
    if not sign_in.client_id:
        raise ConfigurationError(
            "sign-in requires the ID of a client",
            place="--oidc-client-id",
            cure="Register the dashboard at the provider, and give the client's ID.",
        )
    if not shortest <= sign_in.session_lifetime <= longest:
        raise ConfigurationError(
            "a session lasts from 1 minute to 24 hours",
            place="--session-lifetime",
            cure="Give a duration such as 1h.",
        )
    if sign_in.client_secret_file is not None:
        read_client_secret(sign_in.client_secret_file)


def checked_public_url(settings: Settings, sign_in: SignInSettings) -> str:
    """The URL that browsers use, without a trailing slash. Raises ConfigurationError."""
    url = (sign_in.public_url or _own_url(settings)).rstrip("/")
    parts = urlsplit(url) if url_fault(url) is None else None
    if parts is None or not parts.hostname or parts.path or parts.query or parts.fragment:
        fault = "not the URL of a host"
    elif not is_protected(url):
        fault = "sign-in needs https, except on loopback"
    else:
        return f"{parts.scheme}://{parts.netloc.lower()}"
    raise ConfigurationError(
        fault,
        place=f"--public-url {sign_in.public_url}",
        cure="Give the URL that browsers use, such as https://guildnet.example, without a path.",
    )


def _own_url(settings: Settings) -> str:
    host, port = parse_listen(settings.listen)
    if not is_local_name(host) or port == 0:
        raise ConfigurationError(
            "sign-in needs the URL that browsers use, because the provider sends them back to it",
            place="--public-url",
            cure="Give it, such as https://guildnet.example.",
        )
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.tls_cert or settings.dev_tls else "http"
    return f"{scheme}://{shown}:{port}"
