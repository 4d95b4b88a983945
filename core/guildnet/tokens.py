"""Bearer tokens of HTTP servers: reading, creating and comparing them."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.secret_files import decode_secret
from guildnet.state_folder import private_folder, write_private

_MAX_BYTES = 4096
_MIN_CHARACTERS = 16


def read_token(path: Path) -> str:
    """The token in a file. Raises ConfigurationError for an unusable token."""
    try:
        with path.open("rb") as file:
            token = decode_secret(file.read(_MAX_BYTES + 1))
        token.encode("ascii")
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"the token cannot be read: {error}", place=str(path), cure="Write it there, as ASCII."
        ) from error
    if not _MIN_CHARACTERS <= len(token) <= _MAX_BYTES:
        raise ConfigurationError(
            f"the token has {len(token)} characters; at least {_MIN_CHARACTERS} are needed",
            place=str(path),
            cure="Make one with: openssl rand -hex 32",
        )
    return token


def kept_token(path: Path) -> str:
    """The token in a file that only its owner can read; the file is created when missing."""
    if path.exists():
        return read_token(path)
    made = secrets.token_hex(32)
    try:
        if not path.parent.is_dir():
            private_folder(path.parent)
        write_private(path, f"{made}\n".encode())
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written: {error.strerror}",
            place=str(path),
            cure="Make the state folder writable, or give --token-file.",
        ) from error
    return made


def is_token(authorization: str, token: str) -> bool:
    """Whether an Authorization header holds the token, as Bearer or as the password of Basic.

    Browsers ask their user for Basic credentials and send them with every request of a page.
    """
    return hmac.compare_digest(_given(authorization).encode(), token.encode())


def _given(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.casefold() == "bearer":
        return value.strip()
    if scheme.casefold() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
