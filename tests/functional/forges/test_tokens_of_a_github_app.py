"""Tokens of a GitHub App, with answers in the shapes documented for GitHub's REST API.

No GitHub is reached: the shapes are cut down from docs.github.com to the fields that matter.
"""

from __future__ import annotations

import asyncio
import base64
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from guildnet.errors import ConfigurationError, ForgeRefused, ForgeUnavailable, GitUnavailable
from guildnet.forges.github_app import RENEWED_BEFORE_SECONDS, GitHubApp
from guildnet.git import CredentialProvider, Mirror, stored_credentials
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source.commit_status import CommitMarker

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

MINT = "POST /app/installations/4711/access_tokens"
URL = "https://github.com/octo-org/state.git"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def folder(tmp_path: Path, scripted: Scripted, key: rsa.RSAPrivateKey) -> Path:
    """A mounted Secret with an app's files, whose API is the scripted server."""
    made = tmp_path / "app"
    made.mkdir()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (made / "githubAppID").write_text("12345\n")
    (made / "githubAppInstallationID").write_text("4711\n")
    (made / "githubAppPrivateKey").write_bytes(pem)
    (made / "githubAppBaseURL").write_text(scripted.url)
    return made


def mints(scripted: Scripted, token: str, seconds: float) -> None:
    ends = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    scripted.answer(MINT, {"token": token, "expires_at": ends}, 201)


def provider(folder: Path) -> CredentialProvider:
    found = stored_credentials(folder, URL)
    assert isinstance(found, GitHubApp)
    return found


def test_a_token_is_minted_for_one_repository(
    scripted: Scripted, folder: Path, key: rsa.RSAPrivateKey
) -> None:
    mints(scripted, "ghs_first", 3600)

    given = provider(folder).current()

    basic = base64.b64encode(b"x-access-token:ghs_first").decode()
    header = given.settings(URL)["http.https://github.com/.extraHeader"]
    assert header == f"Authorization: Basic {basic}"
    assert scripted.sent(MINT) == [{"repositories": ["state"]}]
    headers = {name.lower(): value for name, value in scripted.requests[0][2].items()}
    claims = jwt.decode(
        headers["authorization"].removeprefix("Bearer "), key.public_key(), algorithms=["RS256"]
    )
    assert claims["iss"] == "12345"
    assert claims["iat"] <= time.time() - 60
    assert claims["exp"] - claims["iat"] <= 600
    assert "PRIVATE KEY" not in str(scripted.requests)


def test_a_token_is_used_until_five_minutes_before_its_end(
    scripted: Scripted, folder: Path
) -> None:
    for token, seconds in (
        ("ghs_short", RENEWED_BEFORE_SECONDS - 60),
        ("ghs_long", RENEWED_BEFORE_SECONDS + 60),
        ("ghs_unused", 3600),
    ):
        mints(scripted, token, seconds)
    app = provider(folder)

    assert [app.current().password for _ in range(3)] == ["ghs_short", "ghs_long", "ghs_long"]
    assert len(scripted.sent(MINT)) == 2


def test_an_outage_is_survived_while_the_token_lasts(scripted: Scripted, folder: Path) -> None:
    mints(scripted, "ghs_short", RENEWED_BEFORE_SECONDS - 60)
    scripted.answer(MINT, {"message": "Server Error"}, 502)
    app = provider(folder)

    assert [app.current().password for _ in range(2)] == ["ghs_short", "ghs_short"]
    assert len(scripted.sent(MINT)) == 2
    with pytest.raises(ForgeUnavailable, match="502"):
        provider(folder).current()


def test_replaced_files_are_used_at_once(scripted: Scripted, folder: Path) -> None:
    mints(scripted, "ghs_first", 3600)
    other = "POST /app/installations/4712/access_tokens"
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    scripted.answer(other, {"token": "ghs_other", "expires_at": ends}, 201)
    app = provider(folder)
    assert app.current().password == "ghs_first"
    (folder / "githubAppInstallationID").write_text("4712")
    assert app.current().password == "ghs_other"


async def test_it_works_inside_an_event_loop(scripted: Scripted, folder: Path) -> None:
    mints(scripted, "ghs_first", 3600)
    app = provider(folder)
    assert app.current().password == "ghs_first"
    assert (await asyncio.to_thread(app.current)).password == "ghs_first"


@pytest.mark.parametrize(
    ("status", "message", "cure"),
    [
        (401, "A JSON web token could not be decoded", "this machine's clock"),
        (404, "Not Found", "the installation's ID"),
        (422, "There is at least one repository that does not exist", "install the app"),
    ],
)
def test_a_refusal_says_what_to_check(
    scripted: Scripted, folder: Path, status: int, message: str, cure: str
) -> None:
    scripted.answer(MINT, {"message": message}, status)
    with pytest.raises(ForgeRefused, match=message) as refused:
        provider(folder).current()
    assert cure in str(refused.value)
    assert "eyJ" not in str(refused.value), "the JWT is masked"


def test_a_mirror_reports_it_as_an_outage_of_the_remote(
    scripted: Scripted, folder: Path, tmp_path: Path
) -> None:
    """I1: without a token nothing is known about the repository."""
    scripted.answer(MINT, {"message": "Server Error"}, 502)
    with (
        Mirror.open(URL, tmp_path / "m.git", credentials=provider(folder)) as mirror,
        pytest.raises(GitUnavailable, match="502"),
    ):
        mirror.ls_remote(["refs/heads/*"])


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("githubAppPrivateKey", "", "missing or empty"),
        ("githubAppPrivateKey", "-----BEGIN nonsense", "not an RSA private key"),
        ("githubAppInstallationID", "4711/../1", "not a number"),
    ],
)
def test_unusable_files_fail_at_the_start(
    folder: Path, name: str, content: str, fault: str
) -> None:
    (folder / name).write_text(content)
    with pytest.raises(ConfigurationError, match=fault) as refused:
        stored_credentials(folder, URL)
    assert refused.value.place == str(folder / name)


def test_a_url_for_ssh_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs the https URL"):
        stored_credentials(folder, "git@github.com:octo-org/state.git")


async def test_commit_statuses_are_set_with_its_tokens(
    scripted: Scripted, folder: Path, tmp_path: Path
) -> None:
    """On a GitHub Enterprise, whose API is below the address of its pages."""
    (folder / "githubAppBaseURL").unlink()
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    mint = MINT.replace(" /", " /api/v3/")
    scripted.answer(mint, {"token": "ghs_first", "expires_at": ends}, 201)
    scripted.answer("GET /api/v3/meta", {"installed_version": "3.17.0"})
    statuses = "POST /api/v3/repos/octo-org/state/statuses/6dcb09"
    scripted.answer(statuses, {"id": 1}, 201)
    repo = f"{scripted.url}/octo-org/state.git"
    marker = CommitMarker(Settings(repo=repo, state_dir=tmp_path, forge_token_file=folder))

    await marker.mark("6dcb09", is_clean=True)
    await marker.mark("6dcb09", is_clean=True)

    assert [body["state"] for body in scripted.sent(statuses)] == ["success", "success"]
    headers = {name.lower(): value for name, value in scripted.requests[-1][2].items()}
    assert headers["authorization"] == "Bearer ghs_first"
    assert len(scripted.sent(mint)) == 1
