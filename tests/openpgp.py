"""People who sign commits with OpenPGP keys of their own, by real gpg."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NEEDS_GPG = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed here")
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


@contextlib.contextmanager
def openpgp_people(*names: str) -> Iterator[People]:
    """A key for each of `names`; the agent that gpg starts ends with the context."""
    # The agent's socket needs a short path.
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        Path(home).chmod(0o700)
        made = People(Path(home))
        try:
            for name in names:
                made.gpg("--quick-gen-key", f"{name}@example.com", "ed25519")
            yield made
        finally:
            environment = {**os.environ, "GNUPGHOME": home}
            subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)
