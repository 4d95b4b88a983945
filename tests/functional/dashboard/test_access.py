"""Tokens, host names and certificates."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
from tests.functional.dashboard.conftest import Serve
from tests.functional.dashboard.state_repository import StateRepository

from guildnet.errors import ConfigurationError
from guildnet.tokens import read_token
from guildnet_dashboard.certificate import development_certificate

TOKEN = "correct-horse-battery"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


async def test_requests_without_the_token_get_nothing(
    serve: Serve, repository: StateRepository, token_file: Path
) -> None:
    """I8: no page, list, event or repository name is served."""
    repository.orgs("acme", acme=("fix",))
    async with serve(token_file=token_file, base="http://dash.example") as dashboard:
        for path in ("/", "/api/orgs", "/api/events", "/tasks/acme/fix", "/static/live.js"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, basic("wrong"), basic("")):
                answer = await dashboard.get(path, headers=headers)
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"].startswith("Basic")
                assert "acme" not in answer.text
        health = await dashboard.get("/api/health")
        assert health.json() == {"status": "ok"}


async def test_token_as_bearer_or_basic_password(
    serve: Serve, repository: StateRepository, token_file: Path
) -> None:
    repository.orgs("acme")
    async with serve(token_file=token_file, base="http://dash.example") as dashboard:
        for headers in ({"Authorization": f"Bearer {TOKEN}"}, basic(TOKEN)):
            assert (await dashboard.get("/", headers=headers)).status_code == 200
        health = await dashboard.get("/api/health", headers=basic(TOKEN))
        assert health.json()["orgs"] == 1


async def test_without_a_token_only_allowed_host_names_are_served(
    serve: Serve, repository: StateRepository
) -> None:
    """I8: DNS rebinding by a web page reads nothing."""
    repository.orgs("acme")
    async with serve(hosts=("dash.example",)) as dashboard:
        for host, status in (
            ("localhost:8443", 200),
            ("127.0.0.1:8443", 200),
            ("[::1]:8443", 200),
            ("dash.example", 200),
            ("evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("", 421),
        ):
            assert (await dashboard.get("/", headers={"Host": host})).status_code == status, host


def test_unusable_token_files_are_refused(tmp_path: Path) -> None:
    """I10: the error names the file and the remedy."""
    short = tmp_path / "short"
    short.write_text("abc")
    for path in (short, tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigurationError) as refusal:
            read_token(path)
        assert refusal.value.place == str(path)
        assert refusal.value.cure


def test_development_certificate_is_reused(tmp_path: Path) -> None:
    certificate, key = development_certificate(tmp_path / "tls", "dash.example")
    assert key.stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    made = certificate.read_bytes()
    assert development_certificate(tmp_path / "tls", "dash.example")[0].read_bytes() == made
