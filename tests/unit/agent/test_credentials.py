"""A git Secret is for its hosts and no others."""

from __future__ import annotations

import pytest

from guildnet_agent.supervisor.credentials import host_of, is_allowed


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Git.Example/acme/web.git", "git.example"),
        ("https://git.example:443/x", "git.example"),
        ("http://git.example:443/x", "git.example:443"),
        ("http://10.0.0.1:3000/x", "10.0.0.1:3000"),
        ("ssh://git.example:22/x", "git.example"),
        ("ssh://git@git.example/x", "git.example"),
        ("http://[::1]:3000/x", "[::1]:3000"),
    ],
)
def test_host_of_a_url(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("url", "hosts", "allowed"),
    [
        ("https://git.example/x", ["git.example"], True),
        ("https://git.example/x", ["git.example:443"], True),
        ("http://git.example:3000/x", ["git.example:3000"], True),
        ("http://git.example:3000/x", ["git.example"], False),
        ("https://git.example.evil/x", ["git.example"], False),
        ("https://evil/git.example", ["git.example"], False),
        ("https://git.example@evil/x", ["git.example"], False),
        ("https://sub.git.example/x", ["git.example"], False),
        ("https://git.example/x", [], False),
    ],
)
def test_a_secret_goes_to_its_hosts_alone(url: str, hosts: list[str], allowed: bool) -> None:
    """I8."""
    assert is_allowed(url, hosts) is allowed
