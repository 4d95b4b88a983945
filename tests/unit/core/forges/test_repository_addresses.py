"""Where a repository's URL points on its forge."""

from __future__ import annotations

import pytest

from guildnet.forges.detection import RepositoryAddress, parse_address


@pytest.mark.parametrize(
    ("url", "root_url", "repository"),
    [
        ("https://github.com/acme/web.git", "https://github.com", "acme/web"),
        ("https://github.com/acme/web/", "https://github.com", "acme/web"),
        ("http://10.0.0.1:3000/acme/web", "http://10.0.0.1:3000", "acme/web"),
        ("https://host/code/acme/web.git", "https://host/code", "acme/web"),
        ("https://bot:secret@host/acme/web.git", "https://host", "acme/web"),
        ("git@github.com:acme/web.git", "https://github.com", "acme/web"),
        ("ssh://git@host:2222/acme/web.git", "https://host", "acme/web"),
    ],
)
def test_root_and_name_are_told_without_user_information(
    url: str, root_url: str, repository: str
) -> None:
    """I8: what an address is made from holds no credential."""
    address = parse_address(url)
    assert address is not None
    assert (address.root_url, address.repository) == (root_url, repository)


def test_a_path_of_groups_is_kept_whole() -> None:
    found = parse_address("https://gitlab.example/acme/platform/web.git")
    assert found == RepositoryAddress("https://gitlab.example", "acme/platform/web")


@pytest.mark.parametrize(
    "url",
    [
        *("/srv/web.git", "web", "file:///srv/web", "https://host/web", ""),
        *("https://[host/acme/web", "https:///acme/web", "ssh:///acme/web", "http://@/a/b"),
    ],
)
def test_what_is_on_no_forge_has_no_address(url: str) -> None:
    assert parse_address(url) is None
