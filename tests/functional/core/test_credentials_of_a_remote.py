"""How a remote is spoken to: keys, known hosts and authorities as given, and nothing else."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from guildnet.errors import ConfigurationError, GitUnavailable
from guildnet.git import Credentials, Mirror

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
    found = Credentials.from_folder(folder)
    assert found == Credentials(password="t0ken", known_hosts=folder / "known_hosts")
    assert "t0ken" not in repr(found)
    (folder / "username").write_text("alice")
    (folder / "password").write_text("pw")
    (folder / "ssh-privatekey").write_text("key")
    found = Credentials.from_folder(folder)
    assert (found.username, found.password) == ("alice", "pw")
    assert found.ssh_key == folder / "ssh-privatekey"
    with pytest.raises(ConfigurationError):
        Credentials.from_folder(tmp_path / "none")
    with pytest.raises(ConfigurationError):
        Credentials.from_token_file(tmp_path / "none")


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
