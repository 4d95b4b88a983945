"""The files that bootstrap makes for the reconciler: its deploy key and the webhook's secret.

bootstrap/<host>-<repository>-<hash>/
  webhook-secret            for --webhook-secret-file
  webhook-secret.new        one that the forge may not have yet
  git/ssh-privatekey        for --git-credentials
  git/known_hosts
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from guildnet.digest import sha256_hex
from guildnet.errors import ConfigurationError
from guildnet.secret_files import read_secret
from guildnet.state_folder import private_folder, state_folder, write_private


@dataclass(frozen=True)
class ReconcilerFiles:
    """The files of one repository. Only their owner can read them; nothing is ever printed."""

    folder: Path

    @classmethod
    def of(cls, url: str) -> ReconcilerFiles:
        """The files of the repository at `url`, in this machine's state folder."""
        name = re.sub(r"[^a-z0-9.]+", "-", url.partition("://")[2].lower()).strip("-")[:60]
        return cls(state_folder() / "bootstrap" / f"{name}-{sha256_hex(url.encode())[:8]}")

    @property
    def webhook_secret(self) -> Path:
        return self.folder / "webhook-secret"

    @property
    def credentials(self) -> Path:
        return self.folder / "git"

    @property
    def known_hosts(self) -> Path:
        return self.credentials / "known_hosts"

    def has_webhook_secret(self) -> bool:
        """Whether the stored secret is the one that the forge was given last."""
        return bool(read_secret(self.webhook_secret)) and not self._pending.exists()

    def next_webhook_secret(self, *, fresh: bool) -> str:
        """The secret to give the forge: a `fresh` one, kept aside until `accept_webhook_secret`,
        so that an interruption in between loses neither the old nor the new one."""
        secret = read_secret(self._pending)
        if not secret and not fresh:
            secret = read_secret(self.webhook_secret)
        secret = secret or secrets.token_hex(32)
        self._write(self._pending, secret)
        return secret

    def accept_webhook_secret(self) -> None:
        """The forge has the secret: it becomes the one that the reconciler reads."""
        self._pending.replace(self.webhook_secret)

    def public_key(self) -> str | None:
        """The OpenSSH public key of the stored deploy key; None without one."""
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key

        text = read_secret(self._private_key)
        if text is None:
            return None
        try:
            return _public(load_ssh_private_key(f"{text}\n".encode(), password=None))
        except Exception as error:  # ValueError, TypeError and the library's own
            raise ConfigurationError(
                "not an SSH private key without a passphrase",
                place=str(self._private_key),
                cure="Move it away: bootstrap then makes another one.",
            ) from error

    def make_key(self) -> str:
        """Generate a deploy key (Ed25519) unless there is one; returns its public key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        found = self.public_key()
        if found is not None:
            return found
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        self._write(self._private_key, pem.decode().strip())
        return _public(key)

    def trust(self, lines: str) -> None:
        """Store known hosts."""
        self._write(self.known_hosts, lines.strip())

    @property
    def _pending(self) -> Path:
        return self.folder / "webhook-secret.new"

    @property
    def _private_key(self) -> Path:
        return self.credentials / "ssh-privatekey"

    def _write(self, path: Path, text: str) -> None:
        try:
            for folder in (self.folder.parent, self.folder, path.parent):
                private_folder(folder)
            write_private(path, f"{text}\n".encode())
        except OSError as error:
            raise ConfigurationError(
                f"cannot write: {error.strerror}",
                place=str(path),
                cure="Set GUILDNET_STATE_DIR to a folder that you can write to.",
            ) from error


def _public(key: object) -> str:
    from typing import cast

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = cast("Ed25519PrivateKey", key).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
