"""How a remote is spoken to: keys, known hosts and authorities as given, and nothing else."""

from __future__ import annotations

import base64
import os
import shlex
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from guildnet.errors import ConfigurationError, GitError, GitUnavailable
from guildnet.git import BranchWriter, Credentials, Mirror, SecretFolder, TokenFile
from guildnet.git.credentials import ssh_command
from guildnet.secret_files import key_file

FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" > "{log}"
for command; do :; done
if [ -e "{stranger}" ]; then
  echo 'Host key verification failed.' >&2
  exit 255
fi
exec sh -c "$command"
"""


def test_a_folder_of_a_secret(tmp_path: Path) -> None:
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "token").write_text("t0ken\n")
    (folder / "known_hosts").write_text("host ssh-ed25519 AAAA")
    found = SecretFolder(folder).current()
    assert found == Credentials(password="t0ken", known_hosts=folder / "known_hosts")
    assert "t0ken" not in repr(found)
    (folder / "username").write_text("alice")
    (folder / "password").write_text("pw")
    (folder / "ssh-privatekey").write_text("key")
    found = SecretFolder(folder).current()
    assert (found.username, found.password) == ("alice", "pw")
    assert found.ssh_key == folder / "ssh-privatekey"
    with pytest.raises(ConfigurationError):
        SecretFolder(tmp_path / "none").current()
    with pytest.raises(ConfigurationError):
        TokenFile(tmp_path / "none").current()


def test_a_password_is_for_one_host_alone() -> None:
    """I8: another host that the repository may lead to is never sent the password."""
    settings = Credentials(password="pw").settings("https://git.example:3000/a/b.git")
    assert list(settings) == ["http.https://git.example:3000/.extraHeader"]
    assert Credentials(password="pw").settings("ssh://git@git.example/a.git") == {}


def test_over_ssh(remote: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key and the known hosts given are used, an unknown host is never trusted."""
    log, stranger = tmp_path / "log", tmp_path / "stranger"
    fake = tmp_path / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text(FAKE_SSH.format(log=log, stranger=stranger))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    tip = remote.commit({"a": "1"})
    ours = Credentials(ssh_key=tmp_path / "my key", known_hosts=tmp_path / "known")
    url = f"ssh://git@host.example{remote.path}"
    with Mirror.open(url, tmp_path / "mirror", credentials=ours) as mirror:
        assert mirror.fetch(["main"]) == {"main": tip}
        given = log.read_text().splitlines()
        assert given[given.index("-i") + 1] == str(tmp_path / "my key")
        for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"):
            assert option in given
        assert f"UserKnownHostsFile={tmp_path / 'known'}" in given
        assert "git@host.example" in given
        stranger.touch()
        with pytest.raises(GitUnavailable) as refused:
            mirror.fetch(["main"])
    assert "known_hosts" in (refused.value.cure or "")
    assert "git@" not in str(refused.value)


def test_a_token_that_is_replaced_is_the_one_that_is_sent(
    remote: Any, git_server: Any, tmp_path: Path
) -> None:
    """Some tokens live for an hour; the mirror is kept for months."""
    tip = remote.commit({"a": "1"})
    token = tmp_path / "token"
    token.write_text(git_server.password)
    ours = TokenFile(token)
    with Mirror.open(
        f"{git_server.url}/remote.git", tmp_path / "mirror", credentials=ours
    ) as mirror:
        assert mirror.fetch(["main"]) == {"main": tip}
        git_server.take("another")
        with pytest.raises(GitUnavailable, match="could not read Username"):
            mirror.fetch(["main"])
        token.write_bytes(b"\xef\xbb\xbfanother\r\n")
        assert mirror.fetch(["main"]) == {"main": tip}
        for half_written in (b"", b"\xff\xfe\xff"):
            token.write_bytes(half_written)
            with pytest.raises(GitUnavailable) as refused:
                mirror.fetch(["main"])
            assert refused.value.place == str(token)


class MintingProvider:
    """Mints a token for each conversation, as a forge's app does."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.minted = 0

    def current(self) -> Credentials:
        self.minted += 1
        token = f"minted-{self.minted}"
        self.server.take(token)
        return Credentials(password=token)


def test_a_provider_is_asked_before_each_conversation(
    remote: Any, git_server: Any, tmp_path: Path
) -> None:
    tip = remote.commit({"a": "1"})
    provider = MintingProvider(git_server)
    url = f"{git_server.url}/remote.git"
    with Mirror.open(url, tmp_path / "mirror", credentials=provider) as mirror:
        assert mirror.fetch(["main"]) == {"main": tip}
        assert mirror.ls_remote(["refs/heads/main"]) == {"refs/heads/main": tip}
    assert provider.minted == 2


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_server_that_repeats_the_password_does_not_spread_it(
    remote: Any, git_server: Any, tmp_path: Path
) -> None:
    """I8: in whatever form, and by whichever command."""
    secret = "Zq7/s3cret+pass word=="
    basic = base64.b64encode(f"git:{secret}".encode()).decode()
    hook = remote.path / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\necho 'Basic {basic} of {secret} or {quote(secret)}' >&2\nexit 1\n")
    hook.chmod(0o755)
    git_server.take(secret)
    ours = Credentials(password=secret)
    with Mirror.open(
        f"{git_server.url}/remote.git", tmp_path / "mirror", credentials=ours
    ) as mirror:
        writer = BranchWriter(mirror, "status")
        with pytest.raises(GitError) as refused:
            writer.create_root({"a": b"1"}, "begin")
    shown = "".join(f"{error}{vars(error)}" for error in chain_of(refused.value))
    assert "***" in shown
    for form in (secret, basic, quote(secret), "Zq7"):
        assert form not in shown


@pytest.mark.parametrize(
    ("mode", "change"),
    [
        (0o644, lambda key: key),
        (0o440, lambda key: key),
        (0o600, lambda key: key.rstrip(b"\n")),
        (0o600, lambda key: key.replace(b"\n", b"\r\n")),
        (0o600, lambda key: b"\xef\xbb\xbf" + key),
        (0o600, lambda key: key.decode().encode("utf-16")),
    ],
    ids=["0644", "0440", "no newline", "CR LF", "byte order mark", "UTF-16"],
)
def test_a_key_is_given_to_ssh_as_ssh_wants_it(
    tmp_path: Path, mode: int, change: Callable[[bytes], bytes]
) -> None:
    """As a mounted Secret, an editor on Windows or a form of a browser makes it."""
    made = tmp_path / "made"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)], check=True)
    assert key_file(made, tmp_path / "copy") == made
    given = tmp_path / "given"
    given.write_bytes(change(made.read_bytes()))
    given.chmod(mode)
    usable = key_file(given, tmp_path / "copy")
    assert usable == tmp_path / "copy"
    assert usable.read_bytes() == made.read_bytes()
    assert usable.stat().st_mode & 0o777 == 0o600
    public = subprocess.run(["ssh-keygen", "-y", "-f", usable], check=True, capture_output=True)
    assert public.stdout.split()[:2] == (tmp_path / "made.pub").read_bytes().split()[:2]


def test_ssh_uses_nothing_of_the_users(tmp_path: Path) -> None:
    """Neither their configuration, keys and agent nor the hosts they know."""
    for given in (Credentials(), Credentials(ssh_key=tmp_path / "k", known_hosts=tmp_path / "h")):
        asked = [*shlex.split(ssh_command(given)), "-G", "git@host.example"]
        shown = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
        lines = shown.splitlines()
        assert "identityagent none" in lines
        assert "batchmode yes" in lines
        assert "stricthostkeychecking true" in lines
        assert f"userknownhostsfile {given.known_hosts or 'none'}" in lines
        assert "identityfile none" in lines
        assert ".ssh/id" not in shown


@pytest.fixture
def authority(tmp_path: Path, git_server: Any) -> Path:
    """A certificate authority; the git server speaks TLS with its certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    git_server.secure(context)
    return certificate


def test_a_private_authority(remote: Any, git_server: Any, authority: Path, tmp_path: Path) -> None:
    tip = remote.commit({"a": "1"})
    url = git_server.url.replace("http:", "https:") + "/remote.git"
    ours = Credentials(password=git_server.password, ca_file=authority)
    with Mirror.open(url, tmp_path / "ours", credentials=ours) as mirror:
        assert mirror.fetch(["main"]) == {"main": tip}
    without = Credentials(password=git_server.password)
    with (
        Mirror.open(url, tmp_path / "without", credentials=without) as mirror,
        pytest.raises(GitUnavailable) as refused,
    ):
        mirror.fetch(["main"])
    assert "ca.crt" in (refused.value.cure or "")
