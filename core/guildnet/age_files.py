"""Encrypts and decrypts files with age (age-encryption.org), armored, for X25519 recipients.

The only module that knows pyrage. The tool `age` reads and writes the same files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guildnet.errors import ConfigurationError
from guildnet.secret_files import read_secret

IDENTITY_VARIABLE = "GUILDNET_AGE_IDENTITY"


def age_identity() -> Path | None:
    """The file with this machine's age identity, from GUILDNET_AGE_IDENTITY; None where unset."""
    named = os.environ.get(IDENTITY_VARIABLE)
    return Path(named).expanduser() if named else None


def encrypted(content: bytes, recipients: Sequence[str]) -> bytes:
    """The content, readable by each of the recipients (`age1...`). Raises ConfigurationError."""
    pyrage = _pyrage()
    try:
        keys = [pyrage.x25519.Recipient.from_str(recipient) for recipient in recipients]
        return bytes(pyrage.encrypt(content, keys, armored=True))
    except (pyrage.RecipientError, pyrage.EncryptError) as error:
        raise ConfigurationError(
            f"the age recipients cannot be used: {error}",
            cure="Take each recipient from the output of `age-keygen -y FILE`.",
        ) from error


def decrypted(content: bytes, identity: Path | None, place: str) -> bytes:
    """The content of an age file. `identity` holds the private keys, as `age-keygen` writes them.

    Raises ConfigurationError where no identity is given or none of its keys fits.
    """
    if identity is None:
        raise ConfigurationError(
            "encrypted with age, and no identity is given",
            place=place,
            cure=f"Name the file with your age identity in {IDENTITY_VARIABLE}.",
        )
    pyrage = _pyrage()
    keys = _identities(identity, pyrage)
    try:
        return bytes(pyrage.decrypt(content, keys))
    except pyrage.DecryptError as error:
        raise ConfigurationError(
            f"cannot be decrypted with {identity}: {error}",
            place=place,
            cure="Use the identity of one of the recipients that it was encrypted for.",
        ) from None


def _identities(file: Path, pyrage: Any) -> list[Any]:
    text = read_secret(file)
    if text is None:
        raise ConfigurationError("no such file", place=str(file), cure="Write the identity there.")
    lines = [line.strip() for line in text.splitlines()]
    try:
        # The error would repeat the line.
        return [
            pyrage.x25519.Identity.from_str(line)
            for line in lines
            if line and not line.startswith("#")
        ]
    except pyrage.IdentityError:
        raise ConfigurationError(
            "not an age identity",
            place=str(file),
            cure="Use a file that `age-keygen` wrote: each line is a comment or AGE-SECRET-KEY-...",
        ) from None


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError as error:
        raise ConfigurationError(
            "files that are encrypted with age need the package `pyrage`",
            cure="Install it: pip install pyrage.",
        ) from error
    return pyrage
