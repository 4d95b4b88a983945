"""Credentials for git and the forge's API, from the files of a git Secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.git.credentials import (
    MountedSecrets,
    secret_values,
)
from guildnet_agent.supervisor.git.mounted_secret import read_login
from guildnet_agent.supervisor.task import Task

Secret = Callable[..., Path]


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    def write(**files: str | bytes) -> Path:
        folder = tmp_path / "git" / "forge"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name.replace("_", "-").replace("ca-crt", "ca.crt")).write_bytes(data)
        return folder

    return write


def settings(tmp_path: Path) -> Settings:
    return Settings(git_dir=tmp_path / "git", home=tmp_path / "home", agent_dir=tmp_path)


def task(*hosts: str) -> Task:
    return Task("acme", "fix", {}, {"forge": hosts})


@pytest.mark.parametrize(
    ("files", "user", "password", "token"),
    [
        ({"token": "T"}, "x-access-token", "T", "T"),
        ({"password": "P"}, "x-access-token", "P", "P"),
        ({"token": "T", "username": "bot"}, "bot", "T", "T"),
        ({"token": "API", "password": "GIT", "username": "bot"}, "bot", "GIT", "API"),
        ({"token": b"\xef\xbb\xbfT\r\n"}, "x-access-token", "T", "T"),
        ({"username": "bot"}, "bot", None, None),
    ],
)
def test_one_secret_can_have_different_tokens_for_git_and_the_api(
    secret: Secret, files: dict[str, str | bytes], user: str, password: str, token: str
) -> None:
    login = read_login(secret(**files), "git.example")
    assert (login.user, login.password, login.token) == (user, password, token)


@pytest.mark.parametrize(
    ("files", "user"),
    [
        ({"token": "me@h.example:T"}, "x-bitbucket-api-token-auth"),
        ({"token": "me@h.example:T", "username": "me"}, "me"),
        ({"token": "me@h.example:T", "password": "T"}, "x-bitbucket-api-token-auth"),
        ({"token": "T", "username": "me@h.example"}, "x-bitbucket-api-token-auth"),
        ({"password": "T", "username": "me@h.example"}, "x-bitbucket-api-token-auth"),
    ],
)
def test_a_persons_token_at_bitbucket_cloud_works_for_git_and_the_api(
    secret: Secret, files: dict[str, str], user: str
) -> None:
    """git gets the token alone, the API the e-mail address and the token."""
    login = read_login(secret(**files), "bitbucket.org")
    assert (login.user, login.password, login.token) == (user, "T", "me@h.example:T")


def test_a_repositorys_token_at_bitbucket_cloud_is_used_as_it_is(secret: Secret) -> None:
    login = read_login(secret(token="T"), "bitbucket.org")
    assert (login.user, login.password, login.token) == ("x-access-token", "T", "T")


def test_the_token_without_the_address_is_masked_too(secret: Secret, tmp_path: Path) -> None:
    """I8: user names and public files are not secrets."""
    secret(token="me@h.example:TOKEN-1", username="me", ca_crt="PEM")
    assert secret_values(settings(tmp_path)) == ["me@h.example:TOKEN-1", "TOKEN-1"]


@pytest.mark.parametrize("url", ["http://git.example/x", "http://git.example:3000/x"])
def test_a_token_is_sent_over_http_only_if_the_secret_allows_it(
    secret: Secret, tmp_path: Path, url: str
) -> None:
    """I8, I10."""
    secret(token="T")
    hosts = ("git.example", "git.example:3000")
    with pytest.raises(ConfigurationError, match=r"add http://git\.example"):
        MountedSecrets(task(*hosts), settings(tmp_path)).for_repository(url, "forge")
    allowed = task(*(f"http://{host}" for host in hosts))
    assert MountedSecrets(allowed, settings(tmp_path)).for_repository(url, "forge").token == "T"


@pytest.mark.parametrize("url", ["https://[::1/x.git", "https://[foo]/x", "https://h:99999/x"])
@pytest.mark.parametrize("name", ["forge", None])
def test_an_invalid_url_is_named(
    secret: Secret, tmp_path: Path, url: str, name: str | None
) -> None:
    """I10."""
    secret(token="T")
    with pytest.raises(ConfigurationError, match=r"git\.url: this URL cannot be read"):
        MountedSecrets(task("h"), settings(tmp_path)).for_repository(url, name)


def test_a_key_from_windows_is_written_as_ssh_reads_it(secret: Secret, tmp_path: Path) -> None:
    key = b"\xef\xbb\xbf-----BEGIN KEY-----\r\nAAAA\r\n-----END KEY-----\r\n"
    secret(ssh_privatekey=key)
    (tmp_path / "git" / "forge" / "known_hosts").write_bytes(b"h ssh-ed25519 AAAA\r\n")
    found = MountedSecrets(task("h"), settings(tmp_path)).for_repository("ssh://h/x.git", "forge")
    keys = tmp_path / "home" / ".guildnet" / "keys"
    assert (keys / "forge").read_bytes() == b"-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n"
    assert (keys / "forge").stat().st_mode & 0o777 == 0o600
    assert (keys / "forge.hosts").read_bytes() == b"h ssh-ed25519 AAAA\n"
    assert str(keys / "forge.hosts") in found.environ["GIT_SSH_COMMAND"]


def test_an_authority_is_trusted_in_addition_to_the_systems(secret: Secret, tmp_path: Path) -> None:
    secret(token="T", ca_crt="-----BEGIN CERTIFICATE-----\r\nown\r\n-----END CERTIFICATE-----")
    found = MountedSecrets(task("h"), settings(tmp_path)).for_repository("https://h/x.git", "forge")
    assert found.authorities == "-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----"
    assert Path(found.environ["GIT_SSL_CAINFO"]).read_text().endswith(found.authorities + "\n")


def test_an_authority_is_trusted_only_for_the_hosts_of_its_secret(
    secret: Secret, tmp_path: Path
) -> None:
    secret(ca_crt="PEM")
    assert MountedSecrets(task("h"), settings(tmp_path)).authorities_for("https://h/x") == "PEM"
    assert MountedSecrets(task("h"), settings(tmp_path)).authorities_for("https://other/x") is None


def test_a_rotated_token_is_read_at_the_next_use(secret: Secret, tmp_path: Path) -> None:
    provider = MountedSecrets(task("git.example"), settings(tmp_path))
    secret(token="first")
    assert provider.for_repository("https://git.example/x", "forge").token == "first"
    secret(token="second")
    assert provider.for_repository("https://git.example/x", "forge").token == "second"
