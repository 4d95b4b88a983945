"""A mounted git Secret: its files are read at each use, without what editors add to them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from guildnet.secret_files import decode_secret
from guildnet_agent.exchange import write_atomic

DEFAULT_USER = "x-access-token"  # forges accept any user name with a token except an empty one
#: The user name for git with a person's API token; Bitbucket's API takes the e-mail address.
BITBUCKET_USER = "x-bitbucket-api-token-auth"
BITBUCKET_HOST = "bitbucket.org"
_MAX_BYTES = 64 * 1024
_PUBLIC = ("known_hosts", "username", "ca.crt")


@dataclass(frozen=True)
class Login:
    """User name and password for git, and the token for the forge's API; None if missing."""

    user: str
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def read_value(path: Path) -> str | None:
    """A file's text without byte order mark, carriage returns and surrounding space; None if the
    file is empty or missing."""
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
    need different ones. With only one of them, both use it.
    """
    user = read_value(folder / "username")
    token = read_value(folder / "token") or read_value(folder / "password")
    password = read_value(folder / "password") or token
    if host == BITBUCKET_HOST and token:
        return _bitbucket(user, password, token)
    return Login(user or DEFAULT_USER, password, token)


def _bitbucket(user: str | None, password: str | None, token: str) -> Login:
    """A person's token needs an e-mail address: ``email:token``, or as the user name."""
    email, _, bare = token.rpartition(":")
    if "@" in email:
        own = password if password != token else bare
        return Login(user if user and "@" not in user else BITBUCKET_USER, own, token)
    if user and "@" in user:
        return Login(BITBUCKET_USER, password, f"{user}:{token}")
    return Login(user or DEFAULT_USER, password, token)


def write_private(path: Path, text: str) -> Path:
    """Write a file that only we can read, with a final newline, if its content differs."""
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
    """Every secret value of the git Secrets in a folder, for redaction.

    User names are left out: they often equal the org's name, which is in every branch and URL.
    """
    found: list[str] = []
    for path in sorted(folders.glob("*/*")):
        if path.is_file() and path.name not in _PUBLIC and (value := read_value(path)):
            found.append(value)
            email, _, bare = value.rpartition(":")
            found += [bare] if "@" in email else []
    return found
