"""Only OpenPGP signatures by valid keys of the given file count. Real gpg signs and verifies."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.openpgp import LONG_AGO, NEEDS_GPG, People, openpgp_people, push

from guildnet.git import Mirror, OpenPgpKeyring, SshSigners, any_signature
from guildnet.git.keyring import MAX_KEYRING_BYTES, KeyringUnusable

pytestmark = NEEDS_GPG


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with openpgp_people("alice", "mallory", "leaver") as made:
        made.gpg(*LONG_AGO, "--quick-gen-key", "late@example.com", "ed25519", "default", "1d")
        yield made


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
