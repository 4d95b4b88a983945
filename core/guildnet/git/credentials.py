"""The credentials of a remote: a token, a password or an SSH key, from files or a Secret.

Secrets never become arguments of a process nor part of a URL: HTTP ones travel as
configuration in the environment of the one git process that needs them. Files are read again for
each conversation, so that a token that was replaced is the one that is sent.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.redact import Redactor
from guildnet.secret_files import key_file, read_secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to authenticate to one remote; every field is optional.

    `password` is a password or a token (with a token, `username` may be anything the forge
    takes). `ssh_key`, `known_hosts` and `ca_file` are files that exist as long as this does;
    `source` is the folder or token file that all of it was read from.
    """

    username: str = "git"
    password: str | None = field(default=None, repr=False)
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None
    source: Path | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_folder(cls, folder: Path) -> Credentials:
        """Read a mounted Secret: files username, password | token, ssh-privatekey, known_hosts,
        ca.crt, whichever exist. Raises ConfigurationError where the folder is not readable."""
        if not folder.is_dir():
            raise ConfigurationError("there is no such folder of credentials", place=str(folder))
        return cls(
            username=read_secret(folder / "username") or "git",
            password=read_secret(folder / "password") or read_secret(folder / "token") or None,
            ssh_key=_existing(folder / "ssh-privatekey"),
            known_hosts=_existing(folder / "known_hosts"),
            ca_file=_existing(folder / "ca.crt"),
            source=folder,
        )

    @classmethod
    def from_token_file(cls, file: Path, *, username: str = "git") -> Credentials:
        """A token (or password) alone in a file. ConfigurationError where it cannot be read."""
        token = read_secret(file)
        if not token:
            raise ConfigurationError("there is no token in this file", place=str(file))
        return cls(username=username, password=token, source=file)

    def reread(self) -> Credentials:
        """What the same files hold now. Raises ConfigurationError as reading them did."""
        if self.source is None:
            return self
        if self.source.is_dir():
            return self.from_folder(self.source)
        return self.from_token_file(self.source, username=self.username)

    def for_ssh(self, folder: Path) -> Credentials:
        """The same with a key that ssh accepts, for which a copy may be made in `folder`."""
        if self.ssh_key is None:
            return self
        return replace(self, ssh_key=key_file(self.ssh_key, folder / "ssh-key"))

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
            options += ["-i", str(self.ssh_key)]
        if self.known_hosts is not None:
            options += ["-o", f"UserKnownHostsFile={self.known_hosts}"]
        return options


NOTHING = Credentials()


def ssh_command(credentials: Credentials) -> str:
    """The ssh command line for git: it never asks, never trusts an unknown host, never hangs, and
    uses neither configuration nor keys nor agent of the user that runs it."""
    always = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        # A server's banner could say anything in git's error output.
        "LogLevel": "ERROR",
    }
    # Also beside a key: where its file is missing, ssh would try those of the user.
    always["IdentityFile"] = "none"
    if credentials.known_hosts is None:
        always["UserKnownHostsFile"] = "none"
    words = ["ssh", "-F", "none"]
    for name, value in always.items():
        words += ["-o", f"{name}={value}"]
    return shlex.join(words + credentials.ssh_options())


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
