"""A git Secret as it is mounted: its files, read anew each time and cleaned of what editors add."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from guildnet.secret_files import decode_secret
from guildnet_agent.exchange import write_atomic

DEFAULT_USER = "x-access-token"  # forges take any name beside a token, but not an empty one
#: What Bitbucket Cloud wants beside a person's API token in git; its API wants the e-mail address.
BITBUCKET_USER = "x-bitbucket-api-token-auth"
BITBUCKET_HOST = "bitbucket.org"
_MAX_BYTES = 64 * 1024
_PUBLIC = ("known_hosts", "username", "ca.crt")


@dataclass(frozen=True)
class Login:
    """Name and password for git, and the token for the forge's API, where there are any."""

    user: str
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def read_value(path: Path) -> str | None:
    """A file's text without byte order mark, carriage returns and space around it; None for an
    empty or missing one."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    try:
        return decode_secret(data) or None
    except UnicodeDecodeError:
        return data.decode("utf-8-sig", errors="replace").strip() or None


def read_login(folder: Path, host: str) -> Login:
    """The login for a host.

    With both ``token`` and ``password``, git uses ``password`` and the API ``token``: some forges
    want different ones. With one alone, both use it.
    """
    user = read_value(folder / "username")
    token = read_value(folder / "token") or read_value(folder / "password")
    password = read_value(folder / "password") or token
    if host == BITBUCKET_HOST and token:
        return _bitbucket(user, password, token)
    return Login(user or DEFAULT_USER, password, token)


def _bitbucket(user: str | None, password: str | None, token: str) -> Login:
    """A person's token comes with an e-mail address: ``email:token``, or as the user's name."""
    email, _, bare = token.rpartition(":")
    if "@" in email:
        own = password if password != token else bare
        return Login(user if user and "@" not in user else BITBUCKET_USER, own, token)
    if user and "@" in user:
        return Login(BITBUCKET_USER, password, f"{user}:{token}")
    return Login(user or DEFAULT_USER, password, token)


def write_private(path: Path, text: str) -> Path:
    """A file that only we can read, with its last line ended; written only where it differs."""
    data = f"{text}\n".encode()
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        umask = os.umask(0o077)
        try:
            write_atomic(path, data)
        finally:
            os.umask(umask)
    return path


def secret_values(folders: Path) -> list[str]:
    """Every value of the git Secrets below a folder, for redaction.

    A user's name is not one: it is often that of the org, and would shred every branch and URL.
    """
    found: list[str] = []
    for path in sorted(folders.glob("*/*")):
        if path.is_file() and path.name not in _PUBLIC and (value := read_value(path)):
            found.append(value)
            email, _, bare = value.rpartition(":")
            found += [bare] if "@" in email else []
    return found
