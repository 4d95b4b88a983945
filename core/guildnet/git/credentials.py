"""What a remote is spoken to with: a token, a password or an SSH key, from files or a Secret.

Secrets never become arguments of a process nor part of a URL: HTTP ones travel as
configuration in the environment of the one git process that needs them.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.redact import Redactor

MAX_SECRET_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to authenticate to one remote; every field is optional.

    `password` is a password or a token (with a token, `username` may be anything the forge
    takes). `ssh_key`, `known_hosts` and `ca_file` are files that exist as long as this does.
    """

    username: str = "git"
    password: str | None = field(default=None, repr=False)
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def from_folder(cls, folder: Path) -> Credentials:
        """Read a mounted Secret: files username, password | token, ssh-privatekey, known_hosts,
        ca.crt, whichever exist. Raises ConfigurationError where the folder is not readable."""
        if not folder.is_dir():
            raise ConfigurationError("there is no such folder of credentials", place=str(folder))
        return cls(
            username=_read(folder / "username") or "git",
            password=_read(folder / "password") or _read(folder / "token"),
            ssh_key=_existing(folder / "ssh-privatekey"),
            known_hosts=_existing(folder / "known_hosts"),
            ca_file=_existing(folder / "ca.crt"),
        )

    @classmethod
    def from_token_file(cls, file: Path, *, username: str = "git") -> Credentials:
        """A token (or password) alone in a file. ConfigurationError where it cannot be read."""
        token = _read(file)
        if not token:
            raise ConfigurationError("there is no token in this file", place=str(file))
        return cls(username=username, password=token)

    def settings(self, url: str) -> dict[str, str]:
        """git configuration (key -> value) that applies to the host of `url` and no other."""
        parts = urlsplit(url)
        found: dict[str, str] = {}
        if parts.scheme in ("http", "https"):
            host = parts.netloc.rpartition("@")[2]
            if self.password is not None:
                basic = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
                found[f"http.{parts.scheme}://{host}/.extraHeader"] = (
                    f"Authorization: Basic {basic}"
                )
        return found

    def redactor(self) -> Redactor:
        """Masks the password, in all its forms, in what git and the remote say."""
        return Redactor([self.password] if self.password else [])

    def environment(self) -> dict[str, str]:
        """Variables for the git process; they go before what the machine's own say."""
        return {} if self.ca_file is None else {"GIT_SSL_CAINFO": str(self.ca_file.absolute())}

    def ssh_options(self) -> list[str]:
        """Options of ssh beyond those that always hold."""
        options: list[str] = []
        if self.ssh_key is not None:
            options += ["-F", "none", "-i", str(self.ssh_key), "-o", "IdentitiesOnly=yes"]
        if self.known_hosts is not None:
            options += ["-o", f"UserKnownHostsFile={self.known_hosts}"]
        return options


def ssh_command(credentials: Credentials | None) -> str:
    """The ssh command line for git: it never asks, never trusts an unknown host, never hangs."""
    always = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    always += ["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5"]
    always += ["-o", "ServerAliveCountMax=3"]
    return shlex.join(always + (credentials.ssh_options() if credentials else []))


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET_BYTES).decode().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"this credential cannot be read: {error}", place=str(path)
        ) from error


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
