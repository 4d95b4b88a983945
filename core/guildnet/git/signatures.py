"""Whose signature on a commit counts. A kind of signature is one more SignaturePolicy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from guildnet.git.keyring import gpg_home, gpg_program

#: The verifier of a format that is not accepted: it rejects every signature.
_OFF = "false"
_OPENPGP_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")


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

    def environment(self) -> Mapping[str, str]:
        """Variables of the environment in which git verifies a commit.

        Raises KeyringUnusable when the policy cannot be applied on this machine.
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
            "gpg.ssh.program": "ssh-keygen",
            "gpg.openpgp.program": _OFF,
            "gpg.x509.program": _OFF,
        }

    def environment(self) -> Mapping[str, str]:
        return {}

    def signer(self, verification: Verification) -> str | None:
        is_ssh = verification.fingerprint.startswith("SHA256:")
        return verification.signer if verification.status == "G" and is_ssh else None


@dataclass(frozen=True, slots=True)
class OpenPgpKeyring:
    """OpenPGP signatures by the valid keys in a file of exported public keys, and no others.

    A signature counts while its key is valid: neither expired nor revoked. gpg sees the keys of
    the file alone; `state_dir` is where GuildNet keeps the homes that it makes for gpg.
    """

    file: Path
    state_dir: Path

    def settings(self) -> Mapping[str, str]:
        return {
            "gpg.format": "openpgp",
            "gpg.openpgp.program": gpg_program(self.file),
            "gpg.ssh.program": _OFF,
            "gpg.x509.program": _OFF,
        }

    def environment(self) -> Mapping[str, str]:
        return {"GNUPGHOME": str(gpg_home(self.file, self.state_dir))}

    def signer(self, verification: Verification) -> str | None:
        is_openpgp = _OPENPGP_FINGERPRINT.fullmatch(verification.fingerprint) is not None
        return verification.signer if verification.status == "G" and is_openpgp else None


@dataclass(frozen=True, slots=True)
class AnySignature:
    """A signature that counts by one of several policies, each of another format."""

    policies: Sequence[SignaturePolicy]

    def settings(self) -> Mapping[str, str]:
        given = [pair for policy in self.policies for pair in policy.settings().items()]
        # The later pair wins: the verifier of an accepted format.
        return dict(sorted(given, key=lambda pair: pair[1] != _OFF))

    def environment(self) -> Mapping[str, str]:
        return {name: value for p in self.policies for name, value in p.environment().items()}

    def signer(self, verification: Verification) -> str | None:
        signers = (policy.signer(verification) for policy in self.policies)
        return next((signer for signer in signers if signer is not None), None)


def any_signature(policies: Sequence[SignaturePolicy]) -> SignaturePolicy | None:
    """The policy that accepts what one of these does; None for no policy."""
    return AnySignature(policies) if policies else None
