"""A provider that is down, hangs, lies, or is behind a private authority or a proxy."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.functional.dashboard.conftest import DEADLINE, Serve
from tests.functional.dashboard.oidc_provider import SECRET, OidcProvider, provided
from tests.functional.dashboard.signing_in import PAGE, PUBLIC, sign_in, to_callback
from tests.functional.dashboard.state_repository import StateRepository
from tests.functional.model_gateway.certificate import make_certificate

from guildnet.errors import ConfigurationError
from guildnet_dashboard.settings import SignInSettings


async def test_the_dashboard_starts_without_its_provider(
    serve: Serve,
    repository: StateRepository,
    provider: OidcProvider,
    signing_in: SignInSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """I10: sign-in, health and log say what is wrong; nobody restarts anything afterwards."""
    repository.orgs("acme")
    provider.down = True
    async with serve(sign_in=signing_in, base=PUBLIC) as dashboard:
        answer = await dashboard.get("/signin")
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert f"{provider.issuer}/.well-known/openid-configuration: status 503" in answer.text
        assert "--oidc-issuer" in answer.text
        health = await dashboard.get("/api/health")
        assert (health.status_code, health.json()) == (
            200,
            {"status": "ok", "signIn": "unavailable"},
        )
        assert caplog.text.count("the identity provider cannot be asked") == 1
        provider.down = False
        caplog.set_level(logging.INFO)
        async with asyncio.timeout(DEADLINE):
            while (await dashboard.get("/signin")).status_code == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await sign_in(dashboard)).status_code == 303
        assert "answers again" in caplog.text


async def test_sessions_go_on_while_the_provider_is_down(
    serve: Serve, repository: StateRepository, provider: OidcProvider, signing_in: SignInSettings
) -> None:
    repository.orgs("acme")
    provider.person["groups"] = ["acme"]
    async with serve(sign_in=signing_in, base=PUBLIC) as dashboard:
        address = await to_callback(dashboard)
        await sign_in(dashboard)
        provider.down = True
        assert "acme" in await dashboard.text("/")
        known = {"Authorization": f"Bearer {provider.token()}"}
        assert (await dashboard.get("/api/orgs", headers=known)).status_code == 200
        answer = await dashboard.get(address)
        assert answer.status_code == 503
        assert "Sign-in is not available" in answer.text


async def test_a_hanging_provider_delays_only_those_who_need_it(
    serve: Serve,
    repository: StateRepository,
    provider: OidcProvider,
    signing_in: SignInSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guildnet_dashboard.sign_in.provider._DEADLINE_SECONDS", 0.5)
    repository.orgs("acme")
    provider.hangs.add("/jwks")
    headers = {"Authorization": f"Bearer {provider.token(groups=['acme'])}"}
    async with serve(sign_in=signing_in, base=PUBLIC) as dashboard:
        async with asyncio.timeout(DEADLINE):
            asked = [dashboard.get("/api/orgs", headers=headers) for _ in range(10)]
            answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} == {503}
        assert "no complete answer within" in answers[0].text
        assert provider.requests.count("/jwks") == 1
        assert (await dashboard.get("/api/health")).json()["signIn"] == "unavailable"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"issuer": "https://evil.example"}, "calls itself"),
    ({"token_endpoint": "http://id.example/token"}, "token_endpoint is not an https:// URL"),
    ({"token_endpoint": None}, "token_endpoint is not an https:// URL"),
    ({"authorization_endpoint": "javascript:alert(1)"}, "is not an https:// URL"),
    ({"jwks_uri": ["x"]}, "jwks_uri is not an https:// URL"),
    ({"padding": "x" * 300_000}, "more than 262144 bytes"),
]


@pytest.mark.parametrize(("metadata", "reason"), WRONG, ids=[case[1] for case in WRONG])
async def test_unusable_metadata_is_named(  # noqa: PLR0917
    serve: Serve,
    repository: StateRepository,
    provider: OidcProvider,
    signing_in: SignInSettings,
    metadata: dict[str, Any],
    reason: str,
) -> None:
    repository.orgs("acme")
    provider.metadata = metadata
    async with serve(sign_in=signing_in, base=PUBLIC) as dashboard:
        answer = await dashboard.get("/signin")
        assert answer.status_code == 503
        assert reason in answer.text


async def test_a_wrong_client_secret_is_named_without_it(
    serve: Serve, repository: StateRepository, signing_in: SignInSettings, tmp_path: Path
) -> None:
    """The file is read at each sign-in, so a corrected one needs no restart."""
    repository.orgs("acme")
    secret = tmp_path / "client-secret"
    secret.write_text("an-old-secret")
    async with serve(sign_in=signing_in, base=PUBLIC) as dashboard:
        answer = await sign_in(dashboard)
        assert answer.status_code == 403
        assert "invalid_client" in answer.text
        assert "--oidc-client-secret-file" in answer.text
        assert "an-old-secret" not in answer.text
        secret.unlink()
        assert "secret is missing" in (await sign_in(dashboard)).text
        secret.write_text(SECRET)
        assert (await sign_in(dashboard)).status_code == 303


async def test_a_private_authority(
    serve: Serve, repository: StateRepository, signing_in: SignInSettings, tmp_path: Path
) -> None:
    repository.orgs("acme")
    certificate = make_certificate(tmp_path)
    async with provided(certificate) as provider:
        settings = replace(signing_in, issuer=provider.issuer)
        async with serve(sign_in=settings, base=PUBLIC) as dashboard:
            answer = await dashboard.get("/signin")
            assert answer.status_code == 503
            assert "certificate verify failed" in answer.text
        trusting = replace(settings, ca_file=certificate[0])
        state = tmp_path / "trusting"
        async with serve(sign_in=trusting, base=PUBLIC, state_dir=state) as dashboard:
            answer = await dashboard.get("/signin")
            assert answer.status_code == 302
            assert answer.headers["location"].startswith(f"{provider.issuer}/authorize?")


async def test_the_proxy_of_the_environment(
    serve: Serve,
    repository: StateRepository,
    signing_in: SignInSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository.orgs("acme")
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass-word@127.0.0.1:{port}")
    settings = replace(signing_in, issuer="https://id.example")
    async with proxy, serve(sign_in=settings, base=PUBLIC) as dashboard:
        answer = await dashboard.get("/signin")
        assert answer.status_code == 503
        assert asked[0].startswith(b"CONNECT id.example:443 ")
        assert "pass-word" not in answer.text


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"issuer": "http://id.example"}, "--oidc-issuer"),
        ({"issuer": "id.example"}, "--oidc-issuer"),
        ({"issuer": "https://user:pw@id.example"}, "--oidc-issuer"),
        ({"public_url": "http://dash.example"}, "--public-url"),
        ({"public_url": "https://dash.example/guildnet"}, "--public-url"),
        ({"public_url": "dash.example"}, "--public-url"),
        ({"client_secret_file": Path("/missing")}, "/missing"),
        ({"session_key_file": Path("/missing")}, "/missing"),
        ({"org_map_file": Path("/missing")}, "/missing"),
        ({"ca_file": Path("/missing")}, "/missing"),
        ({"client_id": ""}, "--oidc-client-id"),
    ],
)
async def test_unusable_settings_stop_the_start(
    serve: Serve,
    repository: StateRepository,
    signing_in: SignInSettings,
    changes: dict[str, Any],
    place: str,
) -> None:
    """I10: the error names the option or the file, and what to do."""
    repository.orgs("acme")
    with pytest.raises(ConfigurationError) as refusal:
        async with serve(sign_in=replace(signing_in, **changes)):
            pass
    assert place in str(refusal.value.place)
    assert refusal.value.cure


async def test_nothing_listens_at_the_issuer(
    serve: Serve, repository: StateRepository, signing_in: SignInSettings
) -> None:
    repository.orgs("acme")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = replace(signing_in, issuer=f"http://127.0.0.1:{free.getsockname()[1]}")
        async with serve(sign_in=settings, base=PUBLIC) as dashboard:
            answer = await dashboard.get("/signin", headers=PAGE)
            assert answer.status_code == 503
            assert "no answer" in answer.text
