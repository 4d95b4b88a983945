"""Credentials of a remote: a token, a password or an SSH key, and the providers of them.

Secrets never become arguments of a process nor part of a URL: HTTP ones travel as
configuration in the environment of the one git process that needs them. A mirror asks its
provider before each conversation with the remote, so that tokens can be replaced or minted while
it runs.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.redact import Redactor
from guildnet.secret_files import key_file, read_secret


class CredentialProvider(Protocol):
    """Where the credentials of a remote come from."""

    def current(self) -> Credentials:
        """The credentials to use now. Raises ConfigurationError when there are none to read, and
        ForgeError when the forge mints none."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials for one remote; every field is optional.

    `password` is a password or a token (with a token, `username` may be any name that
    the forge accepts). `ssh_key`, `known_hosts` and `ca_file` name files that outlive this object.
    """

    username: str = "git"
    password: str | None = field(default=None, repr=False)
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None

    def current(self) -> Credentials:
        """These credentials: a provider whose answer never changes."""
        return self

    def for_ssh(self, folder: Path) -> Credentials:
        """These credentials with a key file that ssh accepts, which may be a copy in `folder`."""
        if self.ssh_key is None:
            return self
        return replace(self, ssh_key=key_file(self.ssh_key, folder / "ssh-key"))

    def settings(self, url: str) -> dict[str, str]:
        """git configuration (key -> value) that applies to the host of `url` alone."""
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
        """A redactor of the password, for output of git and of the remote."""
        return Redactor([self.password] if self.password else [])

    def environment(self) -> dict[str, str]:
        """Environment variables for git, which override those of the host."""
        return {} if self.ca_file is None else {"GIT_SSL_CAINFO": str(self.ca_file.absolute())}

    def ssh_options(self) -> list[str]:
        """Options of ssh for these credentials."""
        options: list[str] = []
        if self.ssh_key is not None:
            options += ["-i", str(self.ssh_key)]
        if self.known_hosts is not None:
            options += ["-o", f"UserKnownHostsFile={self.known_hosts}"]
        return options


@dataclass(frozen=True, slots=True)
class SecretFolder:
    """A mounted Secret: a folder with any of the files username, password, token, ssh-privatekey,
    known_hosts and ca.crt."""

    folder: Path

    def current(self) -> Credentials:
        """What the files hold now. Raises ConfigurationError where they cannot be read."""
        folder = self.folder
        if not folder.is_dir():
            raise ConfigurationError("this folder of credentials does not exist", place=str(folder))
        return Credentials(
            username=read_secret(folder / "username") or "git",
            password=read_secret(folder / "password") or read_secret(folder / "token") or None,
            ssh_key=_existing(folder / "ssh-privatekey"),
            known_hosts=_existing(folder / "known_hosts"),
            ca_file=_existing(folder / "ca.crt"),
        )


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file that holds a token (or a password) and nothing else."""

    file: Path
    username: str = "git"

    def current(self) -> Credentials:
        """The token as it is now. Raises ConfigurationError where it cannot be read."""
        token = read_secret(self.file)
        if not token:
            raise ConfigurationError("this file holds no token", place=str(self.file))
        return Credentials(username=self.username, password=token)


def stored_credentials(path: Path | None, url: str) -> CredentialProvider | None:
    """The provider for a folder or a token file, after it was read once: a wrong path must fail
    when a service starts. None without a path. Raises ConfigurationError.

    `url` is the repository that they are for: the tokens of a GitHub App are limited to it.
    """
    if path is None:
        return None
    if (path / "githubAppID").is_file():
        # Imported late: most repositories need no client of a forge.
        from guildnet.forges.detection import github_app

        return github_app(path, url)
    provider: CredentialProvider = SecretFolder(path) if path.is_dir() else TokenFile(path)
    provider.current()
    return provider


NOTHING = Credentials()


def ssh_command(credentials: Credentials) -> str:
    """The ssh command line for git: it never prompts, trusts no unknown host, times out, and uses
    no configuration, keys or agent of the user that runs it."""
    always = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        # A server's banner would appear in git's error output.
        "LogLevel": "ERROR",
    }
    # Also with a key: if its file is missing, ssh would try the user's keys.
    always["IdentityFile"] = "none"
    if credentials.known_hosts is None:
        always["UserKnownHostsFile"] = "none"
    words = ["ssh", "-F", "none"]
    for name, value in always.items():
        words += ["-o", f"{name}={value}"]
    return shlex.join(words + credentials.ssh_options())


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
