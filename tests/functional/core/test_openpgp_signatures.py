"""Only OpenPGP signatures by valid keys of the given file count. Real gpg signs and verifies."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guildnet.git import Mirror, OpenPgpKeyring, SshSigners, any_signature
from guildnet.git.keyring import MAX_KEYRING_BYTES, KeyringUnusable

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed here")

LONG_AGO = ("--faked-system-time", "20200101T000000")


@dataclass(frozen=True)
class People:
    """A person's GNUPGHOME with secret keys, none of which the reconciler sees."""

    home: Path

    def gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        quiet = ["gpg", "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"]
        command = [*quiet, "--passphrase", "", *arguments]
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        done = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, check=True
        )
        return done.stdout

    def export(self, *names: str) -> bytes:
        return self.gpg("--export", *names)

    def revoke(self, name: str) -> None:
        """Import the revocation certificate that gpg made with the key."""
        listed = self.gpg("--with-colons", "--list-keys", name).decode().splitlines()
        fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))
        certificate = self.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
        self.gpg("--import", stdin=certificate.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))

    def commit(self, remote: Any, name: str, message: str, *options: str) -> str:
        """Push a commit that `name` signed; `options` are for gpg."""
        program = self.home / "sign"
        program.write_text(f'#!/bin/sh\nexec gpg {" ".join(options)} "$@"\n')
        program.chmod(0o755)
        signing = ["gpg.format=openpgp", f"gpg.program={program}", f"user.signingKey={name}"]
        given = [part for setting in signing for part in ("-c", setting)]
        command = [*given, "commit", "-q", "-S", "--allow-empty", "-m", message]
        subprocess.run(
            ["git", "-C", str(remote.work), *command],
            env={**os.environ, "GNUPGHOME": str(self.home)},
            check=True,
        )
        return push(remote)


def push(remote: Any) -> str:
    remote.git("push", "-q", "origin", "HEAD:main")
    return str(remote.git("rev-parse", "HEAD"))


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    # The agent's socket needs a short path.
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        Path(home).chmod(0o700)
        made = People(Path(home))
        for name in ("alice", "mallory", "leaver"):
            made.gpg("--quick-gen-key", f"{name}@example.com", "ed25519")
        made.gpg(*LONG_AGO, "--quick-gen-key", "late@example.com", "ed25519", "default", "1d")
        try:
            yield made
        finally:
            environment = {**os.environ, "GNUPGHOME": home}
            subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


@pytest.fixture
def mirror(remote: Any, tmp_path: Path) -> Iterator[Mirror]:
    with Mirror.open(str(remote.path), tmp_path / "state" / "mirror") as opened:
        yield opened


@pytest.fixture
def keyring(people: People, tmp_path: Path) -> OpenPgpKeyring:
    """The keys of everybody but mallory."""
    file = tmp_path / "signers.gpg"
    file.write_bytes(people.export("alice@example.com", "leaver@example.com", "late@example.com"))
    return OpenPgpKeyring(file, tmp_path / "state")


def signers(mirror: Mirror, policy: Any, commits: Mapping[str, str]) -> dict[str, str | None]:
    mirror.fetch(["main"])
    return {name: mirror.verify_commit(sha, policy) for name, sha in commits.items()}


def test_only_valid_keys_of_the_file_count(
    people: People,
    keyring: OpenPgpKeyring,
    remote: Any,
    mirror: Mirror,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process has mallory's own keyring, whose keys are trusted without limit there."""
    monkeypatch.setenv("GNUPGHOME", str(people.home))
    commits = {
        "unsigned": remote.commit({"a": "1"}),
        "good": people.commit(remote, "alice@example.com", "good"),
        "unknown, but in the user's keyring": people.commit(remote, "mallory@example.com", "bad"),
        "expired": people.commit(remote, "late@example.com", "late", *LONG_AGO),
    }
    unknown = commits["unknown, but in the user's keyring"]
    assert remote.git("log", "-1", "--format=%G?", unknown) == "G"
    # The words of one commit under the signature of another.
    words = keyring.file.with_name("words")
    words.write_text(
        remote.git("cat-file", "commit", commits["good"]).replace("\n\ngood", "\n\nbad") + "\n"
    )
    forged = remote.git("hash-object", "-t", "commit", "-w", str(words))
    assert forged != commits["good"]
    assert "gpgsig" in remote.git("cat-file", "commit", forged)
    remote.git("merge", "-q", "-s", "ours", "--no-gpg-sign", "-m", "all", forged)
    push(remote)
    found = signers(mirror, keyring, {**commits, "the signature of another commit": forged})
    assert {name: who for name, who in found.items() if who is not None} == {
        "good": "alice@example.com"
    }


def test_a_replaced_file_counts_at_once(
    people: People, keyring: OpenPgpKeyring, remote: Any, mirror: Mirror
) -> None:
    """A revoked key stops counting, and an armored file is as good as a binary one."""
    commits = {
        "leaver": people.commit(remote, "leaver@example.com", "before"),
        "alice": people.commit(remote, "alice@example.com", "too"),
    }
    everybody = {name: f"{name}@example.com" for name in commits}
    assert signers(mirror, keyring, commits) == everybody
    people.revoke("leaver@example.com")
    keyring.file.write_bytes(people.gpg("--armor", "--export", "alice", "leaver"))
    assert signers(mirror, keyring, commits) == {**everybody, "leaver": None}
    keyring.file.write_bytes(people.export("mallory"))
    assert signers(mirror, keyring, commits) == {"leaver": None, "alice": None}


def test_either_of_two_formats_counts_and_no_third(
    people: People, keyring: OpenPgpKeyring, remote: Any, mirror: Mirror, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    ssh = SshSigners(tmp_path / "signers")
    ssh.file.write_text(f"bob@example.com {key.with_suffix('.pub').read_text()}")
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"]
    remote.git(*options, "commit", "-q", "-S", "--allow-empty", "-m", "by ssh")
    commits = {
        "ssh": push(remote),
        "openpgp": people.commit(remote, "alice@example.com", "good"),
        "unknown": people.commit(remote, "mallory@example.com", "bad"),
    }
    nobody = dict.fromkeys(commits)
    by_ssh, by_gpg = {"ssh": "bob@example.com"}, {"openpgp": "alice@example.com"}
    assert signers(mirror, ssh, commits) == {**nobody, **by_ssh}
    assert signers(mirror, keyring, commits) == {**nobody, **by_gpg}
    both = any_signature([ssh, keyring])
    assert signers(mirror, both, commits) == {**nobody, **by_ssh, **by_gpg}


def test_an_unusable_keyring_says_what_to_do(
    people: People, keyring: OpenPgpKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = people.gpg("--export-secret-keys", "mallory")
    for content, message in (
        (b"", "no usable public key"),
        (b"ssh-ed25519 AAAA\n", "no usable public key"),
        (secret, "holds a secret key"),
        (bytes(MAX_KEYRING_BYTES + 1), "larger than"),
    ):
        keyring.file.write_bytes(content)
        with pytest.raises(KeyringUnusable, match=message) as refused:
            keyring.environment()
        assert (refused.value.place, bool(refused.value.cure)) == (str(keyring.file), True)
    keyring.file.unlink()
    with pytest.raises(KeyringUnusable, match="cannot be read: No such file"):
        keyring.environment()
    # Nothing of a rejected file is kept, secret keys least of all.
    assert list((keyring.state_dir / "openpgp").iterdir()) == []
    monkeypatch.setenv("PATH", str(keyring.state_dir))
    with pytest.raises(KeyringUnusable, match="gpg is not installed") as missing:
        keyring.environment()
    assert missing.value.cure is not None
    assert "SSH" in missing.value.cure
