"""Signing in with a provider that really signs tokens, in every way that it can go wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from tests.functional.dashboard.conftest import Dashboard, Serve
from tests.functional.dashboard.oidc_provider import CLIENT, SECRET, OidcProvider, provided
from tests.functional.dashboard.state_repository import StateRepository

from guildnet_dashboard.settings import SignInSettings

PUBLIC = "https://dash.example"
PAGE = {"Accept": "text/html,*/*"}


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with provided() as found:
        yield found


@pytest.fixture
def settings(provider: OidcProvider, tmp_path: Path) -> SignInSettings:
    secret = tmp_path / "client-secret"
    secret.write_text(SECRET + "\n")
    return SignInSettings(provider.issuer, CLIENT, secret, PUBLIC)


async def to_callback(dashboard: Dashboard, path: str = "/") -> str:
    """Ask for a page, be sent to the provider, and return the address that it sends back to."""
    asked = await dashboard.get(path, headers=PAGE)
    assert asked.status_code == 302, asked.text
    begun = await dashboard.get(asked.headers["location"])
    assert begun.status_code == 302, begun.text
    async with httpx.AsyncClient(trust_env=False) as browser:
        return str((await browser.get(begun.headers["location"])).headers["location"])


async def sign_in(dashboard: Dashboard, path: str = "/") -> httpx.Response:
    """Sign in from a page; the answer of the callback."""
    return await dashboard.get(await to_callback(dashboard, path))


async def test_a_person_signs_in_and_returns_to_the_page(
    serve: Serve, repository: StateRepository, provider: OidcProvider, settings: SignInSettings
) -> None:
    repository.orgs("acme", "globex", acme=("fix",), globex=("secret-plan",))
    provider.person["groups"] = ["acme", "acme:developers"]
    async with serve(sign_in=settings, base=PUBLIC) as dashboard:
        answer = await sign_in(dashboard, "/orgs/acme?state=pending&q=f")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"{PUBLIC}/orgs/acme?state=pending&q=f"
        page = await dashboard.text("/")
        assert "acme" in page
        assert "ada" in page
        assert "globex" not in page


def query_of(address: str) -> dict[str, Any]:
    return dict(parse_qsl(urlsplit(address).query))
