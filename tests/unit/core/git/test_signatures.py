"""Which signatures an SSH policy accepts, from git's answer about one commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from guildnet.git import SshSigners
from guildnet.git.signatures import Verification

SSH_KEY = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
PGP_KEY = "0123456789ABCDEF0123456789ABCDEF01234567"
POLICY = SshSigners(Path("signers"))


def test_a_good_ssh_signature_counts_for_its_signer() -> None:
    assert POLICY.signer(Verification("G", SSH_KEY, "alice@example.com")) == "alice@example.com"


@pytest.mark.parametrize(
    ("status", "fingerprint"),
    [("G", PGP_KEY), ("G", ""), *((status, SSH_KEY) for status in "BUXYREN")],
)
def test_no_other_signature_counts(status: str, fingerprint: str) -> None:
    assert POLICY.signer(Verification(status, fingerprint, "alice@example.com")) is None


def test_other_formats_are_turned_off() -> None:
    settings = POLICY.settings()
    assert settings["gpg.format"] == "ssh"
    assert {settings[f"gpg.{other}.program"] for other in ("openpgp", "x509")} == {"false"}
    assert Path(settings["gpg.ssh.allowedSignersFile"]).is_absolute()
