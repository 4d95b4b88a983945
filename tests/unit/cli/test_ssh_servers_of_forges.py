"""The SSH server in a forge's SSH URL, and how its keys are stored and shown."""

from __future__ import annotations

import pytest

from guildnet.errors import ConfigurationError
from guildnet_cli.bootstrap.host_keys import SshServer, fingerprint, fingerprints

# As published at docs.github.com, "GitHub's SSH key fingerprints".
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
PRINT = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("git@github.com:octo/state.git", f"github.com {KEY}"),
        ("ssh://git@git.example/ops/state.git", f"git.example {KEY}"),
        ("ssh://git@git.example:2222/ops/state.git", f"[git.example]:2222 {KEY}"),
    ],
)
def test_the_line_of_known_hosts(url: str, line: str) -> None:
    assert SshServer.of(url).line(f"{KEY} a comment") == line


@pytest.mark.parametrize("url", ["", "git@:x", "ssh://git@/x", "-oProxyCommand=x:y", "ssh://a:b:c"])
def test_a_url_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="has no host"):
        SshServer.of(url)


def test_fingerprints_are_those_of_ssh_keygen() -> None:
    assert fingerprints(f"github.com {KEY}\n# comment\nbroken line") == [f"ssh-ed25519 {PRINT}"]
    assert fingerprint("github.com ssh-ed25519 not-base64") == ""
