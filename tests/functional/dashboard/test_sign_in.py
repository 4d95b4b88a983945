"""Signing in with a provider that really signs tokens, and every answer that must not sign in."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from tests.functional.dashboard.conftest import Serve
from tests.functional.dashboard.oidc_provider import SECRET, OidcProvider, ec_key, rsa_key
from tests.functional.dashboard.signing_in import (
    PAGE,
    PUBLIC,
    SESSION,
    other_browser,
    sign_in,
    to_callback,
)
from tests.functional.dashboard.state_repository import StateRepository

from guildnet_dashboard.settings import SignInSettings
from guildnet_dashboard.sign_in.keys import session_signer
from guildnet_dashboard.sign_in.sessions import session_value
from guildnet_dashboard.viewer import Viewer


@pytest.fixture
def served(
    serve: Serve, repository: StateRepository, provider: OidcProvider, signing_in: SignInSettings
) -> Any:
    """`async with served(org_claim=...) as dashboard`: orgs acme and globex; ada is of acme."""
    repository.orgs("acme", "globex", acme=("fix",), globex=("plan",))
    provider.person["groups"] = ["acme", "acme:developers"]

    def serving(**changes: Any) -> Any:
        return serve(sign_in=replace(signing_in, **changes), base=PUBLIC)

    return serving


async def test_a_person_signs_in_and_returns_to_the_page(served: Any) -> None:
    async with served() as dashboard:
        answer = await sign_in(dashboard, "/orgs/acme?state=pending&q=f%20x")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"{PUBLIC}/orgs/acme?state=pending&q=f%20x"
        page = await dashboard.text("/")
        assert "acme" in page
        assert "ada" in page
        assert "globex" not in page


async def test_the_session_cookie_is_for_this_host_and_no_script(served: Any) -> None:
    async with served() as dashboard:
        answer = await sign_in(dashboard)
        (cookie,) = answer.headers.get_list("set-cookie")
        name, _, rest = cookie.partition("=")
        assert name == SESSION
        attributes = rest.lower().split("; ")[1:]
        assert sorted(attributes) == [
            "httponly",
            "max-age=3600",
            "path=/",
            "samesite=lax",
            "secure",
        ]


async def test_on_loopback_the_cookie_works_without_tls(
    serve: Serve, repository: StateRepository, provider: OidcProvider, signing_in: SignInSettings
) -> None:
    repository.orgs("acme")
    provider.person["groups"] = ["acme"]
    local = replace(signing_in, public_url="http://localhost:8443")
    async with serve(sign_in=local, base="http://localhost:8443") as dashboard:
        answer = await sign_in(dashboard)
        assert "guildnet-session" in dashboard.client.cookies
        assert "secure" not in answer.headers["set-cookie"].lower()
        assert "acme" in await dashboard.text("/")


async def test_scripts_are_not_sent_to_the_provider(served: Any) -> None:
    async with served() as dashboard:
        for path, headers in (
            ("/api/orgs", PAGE),
            ("/", {"Accept": "application/json"}),
            ("/", PAGE | {"Sec-Fetch-Mode": "cors"}),
        ):
            answer = await dashboard.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="GuildNet"'
        assert (await dashboard.get("/", method="POST", headers=PAGE)).status_code == 401


Make = Callable[[OidcProvider, dict[str, Any]], Any]


def unsigned(provider: OidcProvider, claims: dict[str, Any]) -> str:
    return jwt.encode(claims, "", "none")


def hmac_with_the_public_key(provider: OidcProvider, claims: dict[str, Any]) -> str:
    """What a library accepts that picks the algorithm from the token."""
    pem = provider.key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"alg": "HS256", "typ": "JWT", "kid": provider.key.kid}
    text = ".".join(map(encoded, (json.dumps(header).encode(), json.dumps(claims).encode())))
    return f"{text}.{encoded(hmac.digest(pem, text.encode(), 'sha256'))}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def changed(**changes: Any) -> Make:
    def make(provider: OidcProvider, claims: dict[str, Any]) -> str:
        kept = {k: v for k, v in (claims | changes).items() if v is not None}
        return provider.key.sign(kept)

    return make


def with_infinite_expiry(provider: OidcProvider, claims: dict[str, Any]) -> str:
    return provider.key.sign(claims | {"exp": float("inf")})


NOW = time.time()
REFUSED: list[tuple[str, Make, str]] = [
    ("wrong nonce", changed(nonce="another"), "its nonce differs"),
    ("no nonce", changed(nonce=None), "its nonce differs"),
    ("wrong audience", changed(aud="another"), "meant for another audience"),
    ("several audiences", changed(aud=["dashboard", "x"]), "issued to another client"),
    ("another party", changed(azp="another"), "issued to another client"),
    ("wrong issuer", changed(iss="https://evil.example"), "from another issuer"),
    ("expired", changed(exp=NOW - 120), "has expired"),
    ("not valid yet", changed(nbf=NOW + 3600), "not valid yet"),
    ("from the future", changed(iat=NOW + 3600), "not valid yet"),
    ("no subject", changed(sub=None), "no claim &#39;sub&#39;"),
    ("no expiry", changed(exp=None), "no claim &#39;exp&#39;"),
    ("infinite expiry", with_infinite_expiry, "not valid"),
    ("unsigned", unsigned, "&#39;none&#39; is not accepted"),
    ("public key as secret", hmac_with_the_public_key, "&#39;HS256&#39; is not accepted"),
    ("unknown key", lambda p, c: ec_key("unknown").sign(c), "no key of the provider"),
    ("key with a known ID", lambda p, c: ec_key("first").sign(c), "signature is wrong"),
    ("key of another kind", lambda p, c: rsa_key("first").sign(c), "no key of the provider"),
    ("huge", changed(padding="x" * 20_000), "more than 16384 characters"),
    ("nested", lambda p, c: f"{encoded(b'[' * 9000)}.e30.e30", "not a JSON Web Token"),
    ("not a token", lambda p, c: "a.b.c", "not a JSON Web Token"),
    ("not text", lambda p, c: {"a": 1}, "sent no ID token"),
]


@pytest.mark.parametrize(
    ("make", "reason"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
async def test_a_hostile_id_token_signs_nobody_in(
    served: Any, provider: OidcProvider, make: Make, reason: str
) -> None:
    provider.id_token = lambda claims: make(provider, claims)
    async with served() as dashboard:
        answer = await sign_in(dashboard)
        assert answer.status_code == 403
        assert reason in answer.text
        assert "set-cookie" not in answer.headers
        assert (await dashboard.get("/api/orgs")).status_code == 401


@pytest.mark.parametrize("changes", [{"exp": -45}, {"iat": 45}, {"nbf": 45}])
async def test_clocks_may_differ_by_a_minute(
    served: Any, provider: OidcProvider, changes: dict[str, int]
) -> None:
    now = time.time()
    moved = {claim: now + seconds for claim, seconds in changes.items()}
    provider.id_token = lambda claims: provider.key.sign(claims | moved)
    async with served() as dashboard:
        assert (await sign_in(dashboard)).status_code == 303


async def test_a_new_signing_key_is_fetched(served: Any, provider: OidcProvider) -> None:
    async with served() as dashboard:
        assert (await sign_in(dashboard)).status_code == 303
        provider.key = rsa_key("second")
        async with other_browser(dashboard) as other:
            assert (await sign_in(other)).status_code == 303
        assert provider.requests.count("/jwks") == 2


async def test_only_the_browser_that_began_a_sign_in_can_finish_it(served: Any) -> None:
    """An attacker cannot make a victim's browser use the attacker's account."""
    async with served() as dashboard, other_browser(dashboard) as victim:
        address = await to_callback(dashboard)
        assert (await victim.get(address)).status_code == 400
        await victim.get("/signin")  # has a cookie of its own now
        answer = await victim.get(address)
        assert answer.status_code == 400
        assert "not started by this browser" in answer.text
        assert SESSION not in victim.client.cookies
        assert (await dashboard.get(address)).status_code == 303


async def test_several_tabs_sign_in_at_once(served: Any) -> None:
    async with served() as dashboard:
        first = await to_callback(dashboard, "/orgs/acme")
        second = await to_callback(dashboard, "/tasks/acme/fix")
        for address, path in ((second, "/tasks/acme/fix"), (first, "/orgs/acme")):
            answer = await dashboard.get(address)
            assert answer.headers["location"] == PUBLIC + path


async def test_a_code_is_used_once(served: Any) -> None:
    async with served() as dashboard:
        address = await to_callback(dashboard)
        assert (await dashboard.get(address)).status_code == 303
        again = await dashboard.get(address)
        assert again.status_code == 403
        assert "invalid_grant" in again.text


async def test_a_changed_state_is_refused(served: Any) -> None:
    async with served() as dashboard:
        address = await to_callback(dashboard)
        for changed_address in (address.replace("state=", "state=x"), f"{PUBLIC}/signin/callback"):
            assert (await dashboard.get(changed_address)).status_code == 400


async def test_the_answer_of_another_provider_is_refused(
    served: Any, provider: OidcProvider
) -> None:
    """RFC 9207: a mix-up of providers."""
    async with served() as dashboard:
        address = await to_callback(dashboard)
        assert "&iss=" in address
        answer = await dashboard.get(
            address.partition("&iss=")[0] + "&iss=https://evil.example&code=x"
        )
        assert answer.status_code == 403
        assert "another provider" in answer.text


async def test_the_providers_error_is_shown_escaped(served: Any, provider: OidcProvider) -> None:
    provider.error = "access_denied"
    async with served() as dashboard:
        answer = await sign_in(dashboard, "/orgs/acme")
        assert answer.status_code == 403
        assert "access_denied: &lt;b&gt;no&lt;/b&gt;" in answer.text
        assert "/signin?return=%2Forgs%2Facme" in answer.text


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/\\evil.example"])
async def test_sign_in_never_leads_to_another_host(served: Any, back: str) -> None:
    async with served() as dashboard:
        answer = await dashboard.client.get("/signin", params={"return": back})
        assert answer.status_code == 400
        assert "location" not in answer.headers


async def test_groups_from_the_userinfo_endpoint(served: Any, provider: OidcProvider) -> None:
    del provider.person["groups"]
    provider.userinfo = {"sub": "1", "groups": ["globex"]}
    async with served() as dashboard:
        assert (await sign_in(dashboard)).status_code == 303
        page = await dashboard.text("/")
        assert "globex" in page
        assert "acme" not in page
        provider.userinfo = {"sub": "2", "groups": ["acme"]}
        async with other_browser(dashboard) as other:
            answer = await sign_in(other)
            assert answer.status_code == 403
            assert "for another person" in answer.text


async def test_left_out_groups_are_named(served: Any, provider: OidcProvider) -> None:
    """Entra sends a reference to the groups where there are more than 200."""
    del provider.person["groups"]
    provider.person |= {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}}
    provider.userinfo = {"sub": "1"}
    async with served() as dashboard:
        answer = await sign_in(dashboard)
        assert answer.status_code == 403
        assert "too many values" in answer.text


async def test_map_file_and_admin_group(
    served: Any, provider: OidcProvider, tmp_path: Path
) -> None:
    mapping = tmp_path / "orgs.yaml"
    mapping.write_text("staff: [globex]\n'acme:developers': []\n")
    async with served(org_map_file=mapping, admin_groups=("root",)) as dashboard:
        for groups, seen in (
            (["acme"], set()),
            (["staff"], {"globex"}),
            (["staff", "root"], {"acme", "globex"}),
        ):
            provider.person["groups"] = groups
            async with other_browser(dashboard) as browser:
                await sign_in(browser)
                orgs = {org["name"] for org in (await browser.json("/api/orgs"))["orgs"]}
                assert orgs == seen


async def test_the_overview_explains_missing_access(served: Any, provider: OidcProvider) -> None:
    provider.person["groups"] = ["Acme", "../acme", 7, None]
    async with served() as dashboard:
        await sign_in(dashboard)
        page = await dashboard.text("/")
        assert "None of your groups grants an org" in page
        assert "acme" not in page


async def test_more_orgs_than_a_cookie_holds(served: Any, provider: OidcProvider) -> None:
    provider.person["groups"] = [f"some-quite-long-org-name-{n}" for n in range(300)]
    async with served() as dashboard:
        answer = await sign_in(dashboard)
        assert answer.status_code == 403
        assert "300 orgs do not fit" in answer.text
        assert "--oidc-org-map-file" in answer.text


async def test_signing_out(served: Any, provider: OidcProvider) -> None:
    provider.metadata["end_session_endpoint"] = f"{provider.issuer}/logout?x=1"
    async with served() as dashboard:
        await sign_in(dashboard)
        own = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
            refused = await dashboard.get("/signout", method="POST", headers=headers)
            assert refused.status_code == 400
        assert (await dashboard.get("/signout")).status_code == 405
        assert (await dashboard.get("/")).status_code == 200
        answer = await dashboard.get("/signout", method="POST", headers=own)
        assert (answer.status_code, answer.headers["location"]) == (303, "/signed-out")
        page = await dashboard.text("/signed-out")
        assert f"{provider.issuer}/logout?x=1&amp;client_id=dashboard&amp;post_logout" in page
        assert (await dashboard.get("/", headers=PAGE)).status_code == 302


async def test_sessions_outlive_a_restart_and_end_with_their_key(
    serve: Serve, served: Any, signing_in: SignInSettings, tmp_path: Path
) -> None:
    async with served() as dashboard:
        await sign_in(dashboard)
        cookies = dashboard.client.cookies
    key = tmp_path / "state" / "dashboard" / "session.key"
    assert key.stat().st_mode & 0o777 == 0o600
    made = key.read_text().strip()
    for number, (keys, status) in enumerate(
        ((made, 200), (f"{'n' * 64}\n{made}", 200), ("n" * 64, 401))
    ):
        key.write_text(keys)
        again = replace(signing_in, session_key_file=key)
        state = tmp_path / f"restart-{number}"
        async with serve(sign_in=again, base=PUBLIC, state_dir=state) as dashboard:
            dashboard.client.cookies = cookies
            assert (await dashboard.get("/api/orgs")).status_code == status


async def test_an_ended_session_leads_to_sign_in_and_back(served: Any, tmp_path: Path) -> None:
    async with served() as dashboard:
        signer = session_signer(tmp_path / "state" / "dashboard" / "session.key")
        for expires, status in ((time.time() + 60, 200), (time.time() - 1, 302)):
            value = session_value(signer, Viewer("ada", frozenset(["acme"])), expires)
            headers = PAGE | {"Cookie": f"{SESSION}={value}"}
            answer = await dashboard.get("/orgs/acme", headers=headers)
            assert answer.status_code == status
        assert answer.headers["location"] == f"{PUBLIC}/signin?return=%2Forgs%2Facme"
        changed_value = value.replace(value[10], "A" if value[10] != "A" else "B", 1)
        for cookie in (changed_value, "x", "", "." * 3000, "\u00e9"):
            sent = {b"Cookie": f"{SESSION}={cookie}".encode()}
            assert (await dashboard.client.get("/api/orgs", headers=sent)).status_code == 401


async def test_no_secret_is_logged(
    served: Any, provider: OidcProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """I8: neither the client's secret nor a code, token, state or cookie."""
    caplog.set_level(logging.DEBUG, logger="guildnet_dashboard")
    tokens: list[str] = []

    def make(claims: dict[str, Any]) -> str:
        tokens.append(provider.key.sign(claims))
        return tokens[-1]

    provider.id_token = make
    async with served() as dashboard:
        address = await to_callback(dashboard)
        await dashboard.get(address)
        await dashboard.get(address)
        provider.id_token = lambda claims: make(claims | {"nonce": "x"})
        async with other_browser(dashboard) as other:
            await sign_in(other)
        secrets = [SECRET, *tokens, *dashboard.client.cookies.values()]
        secrets += [part for part in address.split("&") if "state=" in part or "code=" in part]
        assert "ada signed in and sees 1 org" in caplog.text
        assert [secret for secret in secrets if secret in caplog.text] == []
