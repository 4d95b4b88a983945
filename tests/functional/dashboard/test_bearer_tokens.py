"""JWTs of the provider at the API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.functional.dashboard.conftest import Dashboard, Serve
from tests.functional.dashboard.oidc_provider import OidcProvider, ec_key, rsa_key
from tests.functional.dashboard.signing_in import PUBLIC
from tests.functional.dashboard.state_repository import StateRepository

from guildnet_dashboard.settings import SignInSettings

AUDIENCE = "guildnet-api"


@pytest.fixture
async def dashboard(
    serve: Serve, repository: StateRepository, provider: OidcProvider, signing_in: SignInSettings
) -> AsyncIterator[Dashboard]:
    """Accepts tokens for `guildnet-api`, of a client that is in the group of acme."""
    repository.orgs("acme", "globex", acme=("fix",))
    provider.person |= {"sub": "ci", "groups": ["acme"]}
    settings = replace(signing_in, audience=AUDIENCE)
    async with serve(sign_in=settings, base=PUBLIC) as found:
        yield found


async def ask(dashboard: Dashboard, token: str, path: str = "/api/orgs") -> Any:
    return await dashboard.get(path, headers={"Authorization": f"Bearer {token}"})


async def test_a_token_shows_the_orgs_of_its_groups(
    dashboard: Dashboard, provider: OidcProvider
) -> None:
    answer = await ask(dashboard, provider.token(audience=AUDIENCE))
    assert [org["name"] for org in answer.json()["orgs"]] == ["acme"]
    token = provider.token(audience=["other", AUDIENCE])
    assert (await ask(dashboard, token)).status_code == 200


NOW = time.time()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audience": "dashboard"}, "another audience"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"exp": NOW - 61}, "expired"),
        ({"exp": None}, "no claim 'exp'"),
        ({"nbf": NOW + 3600}, "not valid yet"),
        ({"sub": None}, "no claim 'sub'"),
    ],
)
async def test_a_token_that_is_refused_says_why(
    dashboard: Dashboard, provider: OidcProvider, changes: dict[str, Any], reason: str
) -> None:
    answer = await ask(dashboard, provider.token(**({"audience": AUDIENCE} | changes)))
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert reason in answer.text


@pytest.mark.parametrize(
    "text", ["x", "a.b.c", "e30.e30.", "\x7f.\x7f.\x7f", "a" * 20_000 + "..", ""]
)
async def test_other_text_is_refused(dashboard: Dashboard, text: str) -> None:
    assert (await ask(dashboard, text)).status_code == 401
    health = await ask(dashboard, text, "/api/health")
    assert health.json() == {"status": "ok", "signIn": "ok"}


async def test_a_cookie_does_not_rescue_a_bad_token(
    dashboard: Dashboard, provider: OidcProvider
) -> None:
    headers = {"Authorization": "Basic eDp5", "Cookie": "__Host-guildnet-session=x"}
    assert (await dashboard.get("/api/orgs", headers=headers)).status_code == 401


async def test_a_date_beyond_any_calendar(dashboard: Dashboard, provider: OidcProvider) -> None:
    token = provider.token(audience=AUDIENCE, exp=10**400)
    assert (await ask(dashboard, token)).status_code == 200


async def test_unknown_keys_are_looked_up_at_a_bounded_rate(
    dashboard: Dashboard, provider: OidcProvider
) -> None:
    """Tokens with made-up key IDs do not make the dashboard ask the provider each time."""
    assert (await ask(dashboard, provider.token(audience=AUDIENCE))).status_code == 200
    for number in range(20):
        made_up = ec_key(f"made-up-{number}").sign(provider.claims(AUDIENCE))
        assert (await ask(dashboard, made_up)).status_code == 401
    assert provider.requests.count("/jwks") == 2
    assert (await ask(dashboard, provider.token(audience=AUDIENCE))).status_code == 200


async def test_a_rotated_key_is_accepted_and_the_old_one_no_more(
    dashboard: Dashboard, provider: OidcProvider
) -> None:
    old = provider.token(audience=AUDIENCE)
    assert (await ask(dashboard, old)).status_code == 200
    provider.key = rsa_key("second")
    assert (await ask(dashboard, provider.token(audience=AUDIENCE))).status_code == 200
    assert (await ask(dashboard, old)).status_code == 401
