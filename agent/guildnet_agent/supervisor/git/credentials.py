"""Credentials for a URL, read from the mounted Secrets each time they are asked for.

git itself holds no password. It asks a small program (`askpass`), which answers only for the host
that the Secret is allowed for, so a redirect to another host gets nothing.
"""

from __future__ import annotations

import shlex
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.secrets import host_of, is_allowed_url, refusal, url_refusal
from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.git import mounted_secret
from guildnet_agent.supervisor.git.askpass import install_askpass
from guildnet_agent.supervisor.git.mounted_secret import (
    Login,
    read_login,
    read_value,
    write_private,
)
from guildnet_agent.supervisor.task import Task


@dataclass(frozen=True)
class Credentials:
    """``environ`` is for git, ``token`` for the forge's API (None if there is none).

    ``authorities`` are certificates (PEM) to trust in addition to the system's.
    """

    url: str
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)
    authorities: str | None = field(default=None, repr=False)


class CredentialProvider(Protocol):
    """Gives credentials. Ask again for each use: tokens can be rotated or be short-lived."""

    def for_repository(self, url: str, secret: str | None) -> Credentials:
        """Credentials for a repository, from the Secret with this name.

        ConfigurationError if the URL is invalid, or the Secret is missing or not allowed for the
        URL's host.
        """
        ...

    def authorities_for(self, url: str) -> str | None:
        """The certificates of all git Secrets of the task that are allowed for the URL's host."""
        ...


@dataclass(frozen=True)
class MountedSecrets:
    """Credentials from the git Secrets that are mounted into this container."""

    task: Task
    settings: Settings

    def for_repository(self, url: str, secret: str | None) -> Credentials:
        """See `CredentialProvider`."""
        host = _host(url)
        is_ssh = urlsplit(url).scheme == "ssh"
        if secret is None:
            if is_ssh:
                raise ConfigurationError(
                    f"{host} is reached by ssh, but the task names no Secret",
                    cure="name a Secret with ssh-privatekey and known_hosts",
                )
            return Credentials(url)
        folder = self._allowed_folder(url, secret)
        login = read_login(folder, host)
        authorities = read_value(folder / "ca.crt")
        if is_ssh:
            environ = {"GIT_SSH_COMMAND": _ssh(secret, self.settings)}
            user = read_value(folder / "username") or "git"
            return Credentials(_with_ssh_user(url, user), environ, login.token, authorities)
        environ = self._http_environ(url, secret, login, authorities)
        return Credentials(url, environ, login.token, authorities)

    def _allowed_folder(self, url: str, secret: str) -> Path:
        """The folder of a Secret. ConfigurationError if it may not be used for the URL."""
        hosts = self.task.secret_hosts.get(secret)
        if hosts is None:
            raise ConfigurationError(
                f"Secret {secret!r} is not among the task's git Secrets",
                cure="create it with `guildnet secret set ORG NAME --use git --host HOST`",
            )
        denied = refusal(self.task.org, secret, url, hosts)
        if denied is not None:
            raise ConfigurationError(denied.message, cure=denied.cure)
        return self.settings.git_dir / secret

    def _http_environ(
        self, url: str, secret: str, login: Login, authorities: str | None
    ) -> dict[str, str]:
        own = self.settings.home / ".guildnet"
        environ = {}
        if login.password is not None:
            file = write_private(own / "keys" / f"{secret}.{host_of(url)}", login.password)
            environ = {
                "GIT_ASKPASS": str(install_askpass(own)),
                "GUILDNET_ASKPASS_SCHEME": urlsplit(url).scheme,
                "GUILDNET_ASKPASS_HOST": urlsplit(url).netloc,
                "GUILDNET_ASKPASS_USER": login.user,
                "GUILDNET_ASKPASS_FILE": str(file),
            }
        if authorities is not None:
            trusted = _with_system_authorities(authorities)
            environ["GIT_SSL_CAINFO"] = str(write_private(own / "keys" / f"{secret}.ca", trusted))
        return environ

    def authorities_for(self, url: str) -> str | None:
        """See `CredentialProvider`."""
        hosts_of, folder = self.task.secret_hosts, self.settings.git_dir
        names = sorted(name for name, hosts in hosts_of.items() if is_allowed_url(url, hosts))
        found = [read_value(folder / name / "ca.crt") for name in names]
        return "\n".join(filter(None, found)) or None


def secret_values(settings: Settings) -> list[str]:
    """Every secret value that this container can read, for redaction."""
    keys = (settings.agent_dir / "api-key", settings.model_dir / "api-key")
    own = [value for path in keys if (value := read_value(path))]
    return [*mounted_secret.secret_values(settings.git_dir), *own]


def _host(url: str) -> str:
    unreadable = url_refusal(url)
    if unreadable is not None:
        raise ConfigurationError(unreadable.message, place="git.url", cure=unreadable.cure)
    return host_of(url)


def _with_system_authorities(authorities: str) -> str:
    """The system's certificates, if they are in a file, and ours: git takes a single file."""
    paths = ssl.get_default_verify_paths()
    for name in (paths.cafile, paths.openssl_cafile):
        if name and (path := Path(name)).is_file():
            return f"{path.read_text(errors='replace').rstrip()}\n{authorities}"
    return authorities


def _with_ssh_user(url: str, user: str) -> str:
    """Add the Secret's user, or ``git``: ssh URLs in task files contain none."""
    parts = urlsplit(url)
    if parts.scheme != "ssh" or "@" in parts.netloc:
        return url
    return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()


def _ssh(secret: str, settings: Settings) -> str:
    """The ssh command with this Secret's key and known hosts, both in private files.

    ConfigurationError if the Secret lacks one of them.
    """
    folder = settings.git_dir / secret
    for name in ("ssh-privatekey", "known_hosts"):
        if read_value(folder / name) is None:
            raise ConfigurationError(
                f"Secret {secret!r} has no {name}, which an ssh URL needs",
                cure=f"add {name} to it, or use an https URL with a token",
            )
    keys = settings.home / ".guildnet" / "keys"
    key = write_private(keys / secret, read_value(folder / "ssh-privatekey") or "")
    known_hosts = write_private(keys / f"{secret}.hosts", read_value(folder / "known_hosts") or "")
    return ssh_command(key, known_hosts)


def ssh_command(key: Path | None = None, known_hosts: Path | None = None) -> str:
    """The ssh command: no prompts, only these known hosts, and a limit on dead connections."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(key) if key else "none",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts) if known_hosts else "none",
        "GlobalKnownHostsFile": "none",
        "UpdateHostKeys": "no",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
    }
    words = ["ssh", "-F", "/dev/null"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    return shlex.join(words)
