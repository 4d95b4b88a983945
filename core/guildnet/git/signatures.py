"""Whose signature on a commit counts. A kind of signature is one more SignaturePolicy. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Verification:
    """git's answer about the signature of one commit: `%G?`, `%GF` and `%GS` of its log format.

    `status` is G for a good signature; `fingerprint` is the key's, `signer` its owner's name.
    """

    status: str
    fingerprint: str
    signer: str


class SignaturePolicy(Protocol):
    """Which signatures count."""

    def settings(self) -> Mapping[str, str]:
        """The git configuration under which a commit is verified.

        git chooses the verifier by the format of the signature itself, so a policy must also turn
        off every format that it does not accept.
        """
        ...

    def signer(self, verification: Verification) -> str | None:
        """The accepted signer; None for a signature that does not count."""
        ...


@dataclass(frozen=True, slots=True)
class SshSigners:
    """SSH signatures by the keys in an allowed-signers file (ssh-keygen(1)), and no others."""

    file: Path

    def settings(self) -> Mapping[str, str]:
        return {
            "gpg.format": "ssh",
            "gpg.ssh.allowedSignersFile": str(self.file.absolute()),
            "gpg.openpgp.program": "false",
            "gpg.x509.program": "false",
        }

    def signer(self, verification: Verification) -> str | None:
        is_ssh = verification.fingerprint.startswith("SHA256:")
        return verification.signer if verification.status == "G" and is_ssh else None
