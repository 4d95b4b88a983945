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
    assert parse_address(url) == RepositoryAddress(root_url, repository)


@pytest.mark.parametrize("url", ["/srv/web.git", "web", "file:///srv/web", "https://host/web", ""])
def test_what_is_on_no_forge_has_no_address(url: str) -> None:
    assert parse_address(url) is None
