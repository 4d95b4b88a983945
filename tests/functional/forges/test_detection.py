"""The forge of a repository is detected from the answers of real servers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import ConfigurationError, ForgeUnavailable
from guildnet.forges import PROVIDERS, detect

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

    from guildnet_devcluster.forge import Forge as RunningForge


async def test_a_gitea_is_recognised_by_its_answer(gitea: RunningForge) -> None:
    forge = await detect(f"{gitea.url}/acme/web.git", None, "secret")

    assert forge is not None
    assert (forge.provider, forge.repository) == ("gitea", "acme/web")


async def test_an_unknown_host_is_asked_without_the_token(scripted: Scripted) -> None:
    """I8: a credential is never sent to a host before it is known to be a forge."""
    forge = await detect(f"{scripted.url}/acme/web.git", None, "secret")

    assert forge is None
    assert len(scripted.requests) == 4
    for _, _, headers, _ in scripted.requests:
        assert "secret" not in str(headers)


async def test_a_server_without_an_api_is_plain_git(scripted: Scripted) -> None:
    scripted.answer("GET /api/v1/version", b"<html>cgit</html>")

    assert await detect(f"{scripted.url}/acme/web.git") is None


async def test_github_enterprise_is_recognised_by_its_answer(scripted: Scripted) -> None:
    scripted.answer("GET /api/v3/meta", {"installed_version": "3.19.0"})

    forge = await detect(f"{scripted.url}/acme/web.git")

    assert forge is not None
    assert forge.provider == "github"


async def test_a_gitlab_is_recognised_by_its_refusal(scripted: Scripted) -> None:
    """Without a token GitLab refuses with a typical message; its groups can be nested."""
    scripted.answer("GET /api/v4/version", {"message": "401 Unauthorized"}, 401)

    forge = await detect(f"{scripted.url}/acme/platform/web.git")

    assert forge is not None
    assert (forge.provider, forge.repository) == ("gitlab", "acme/platform/web")


async def test_a_bitbucket_data_center_is_recognised_by_its_name(scripted: Scripted) -> None:
    answer = {"version": "9.4.0", "displayName": "Bitbucket"}
    scripted.answer("GET /code/rest/api/1.0/application-properties", answer)

    forge = await detect(f"{scripted.url}/code/scm/acme/web.git")

    assert forge is not None
    assert (forge.provider, forge.repository) == ("bitbucket-server", "acme/web")


async def test_a_page_that_asks_for_a_password_is_not_a_gitlab(scripted: Scripted) -> None:
    scripted.answer("GET /api/v4/version", b"<h1>401 Authorization Required</h1>", 401)

    assert await detect(f"{scripted.url}/acme/web.git") is None


@pytest.mark.parametrize(
    ("url", "provider", "repository"),
    [
        ("https://github.com/acme/web.git", "github", "acme/web"),
        ("git@gitlab.com:acme/platform/web.git", "gitlab", "acme/platform/web"),
        ("https://ann@bitbucket.org/acme/web.git", "bitbucket", "acme/web"),
        ("ssh://git@bitbucket.org/acme/web.git", "bitbucket", "acme/web"),
        ("https://codeberg.org/acme/web", "gitea", "acme/web"),
    ],
)
async def test_a_known_host_gets_no_request(url: str, provider: str, repository: str) -> None:
    forge = await detect(url, token="secret")

    assert forge is not None
    assert (forge.provider, forge.repository) == (provider, repository)


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "git"])
async def test_the_provider_can_be_given(scripted: Scripted, provider: str) -> None:
    forge = await detect(f"{scripted.url}/acme/web.git", provider)

    assert forge is not None
    assert forge.provider == {"forgejo": "gitea"}.get(provider, provider)
    assert scripted.requests == []


async def test_a_host_that_does_not_answer_is_not_taken_for_plain_git() -> None:
    """I1: an outage never ends a run without its pull request."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(ForgeUnavailable, match=f"127.0.0.1:{port}"):
        await detect(f"http://127.0.0.1:{port}/acme/web.git")


async def test_an_unknown_provider_names_the_known_ones() -> None:
    """I10."""
    with pytest.raises(ConfigurationError, match=", ".join(PROVIDERS)):
        await detect("https://git.example/acme/web.git", "subversion")


@pytest.mark.parametrize("url", ["/srv/git/web.git", "file:///srv/git/web.git"])
async def test_a_folder_has_no_forge(url: str) -> None:
    assert await detect(url) is None


async def test_provider_git_gets_no_request(scripted: Scripted) -> None:
    assert await detect(f"{scripted.url}/acme/web.git", "git") is None
    assert scripted.requests == []
