"""The keys that sign sessions: a file with one key a line."""

from __future__ import annotations

from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.secret_files import read_secret
from guildnet.tokens import kept_token
from guildnet_dashboard.sign_in.sessions import Signer

_MIN_CHARACTERS = 32
_CURE = "Write one key a line, each made with: openssl rand -hex 32"


def session_signer(path: Path) -> Signer:
    """Signs with the first key of the file; its other keys still verify.

    Raises ConfigurationError for a missing file, and for keys that could be guessed.
    """
    keys = (read_secret(path) or "").split()
    if not keys or min(map(len, keys)) < _MIN_CHARACTERS:
        raise ConfigurationError(
            f"no key, or one with fewer than {_MIN_CHARACTERS} characters",
            place=str(path),
            cure=_CURE,
        )
    return Signer([key.encode() for key in keys])


def kept_signer(folder: Path) -> Signer:
    """The signer of the state folder: its key is made once, so that sessions outlive a restart."""
    path = folder / "session.key"
    kept_token(path)
    return session_signer(path)
