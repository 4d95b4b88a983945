"""Which forge a repository belongs to, asked of real servers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import ConfigurationError, ForgeUnavailable
from guildnet.forges import PROVIDERS, detect

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

    from guildnet_devcluster.forge import Forge as RunningForge


async def test_a_gitea_is_known_by_its_answer(gitea: RunningForge) -> None:
    forge = await detect(f"{gitea.url}/acme/web.git", None, "secret")

    assert forge is not None
    assert (forge.provider, forge.repository) == ("gitea", "acme/web")


async def test_an_unknown_host_is_asked_without_the_token(scripted: Scripted) -> None:
    """I8: a credential never goes to a host that has not been told to be its forge."""
    forge = await detect(f"{scripted.url}/acme/web.git", None, "secret")

    assert forge is None
    assert len(scripted.requests) == 2
    for _, _, headers, _ in scripted.requests:
        assert "secret" not in str(headers)


async def test_a_page_that_is_no_api_is_plain_git(scripted: Scripted) -> None:
    scripted.answer("GET /api/v1/version", b"<html>cgit</html>")

    assert await detect(f"{scripted.url}/acme/web.git") is None


async def test_an_enterprise_github_is_known_by_its_answer(scripted: Scripted) -> None:
    scripted.answer("GET /api/v3/meta", {"installed_version": "3.19.0"})

    forge = await detect(f"{scripted.url}/acme/web.git")

    assert forge is not None
    assert forge.provider == "github"


async def test_a_host_that_does_not_answer_is_not_taken_for_plain_git() -> None:
    """I1: an outage never makes a run end without its pull request."""
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


async def test_git_by_name_is_not_asked(scripted: Scripted) -> None:
    assert await detect(f"{scripted.url}/acme/web.git", "git") is None
    assert scripted.requests == []
