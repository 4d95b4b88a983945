"""Which Secret may be used for which URL, and how git is given it without holding it.

git asks a small program (askpass) that reads the Secret's files, and answers only for the one
host the Secret was allowed for: a redirect elsewhere gets nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.labels import HOSTS
from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.task import Task

_DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22}
_DEFAULT_USER = "x-access-token"  # forges take any name beside a token, but not an empty one
_MAX_SECRET_BYTES = 64 * 1024
_NO_SECRETS = ("known_hosts", "username")

_ASKPASS = """#!/bin/sh
# Answers git's questions for one host, from the files of one Secret.
case "$1" in
  *"://$GUILDNET_ASKPASS_HOST'"* | *"@$GUILDNET_ASKPASS_HOST'"*) ;;
  *) exit 1 ;;
esac
case "$1" in
  Username*) printf '%s\\n' "$GUILDNET_ASKPASS_USER" ;;
  Password*)
    for name in token password; do
      if [ -e "$GUILDNET_ASKPASS_DIR/$name" ]; then
        exec cat "$GUILDNET_ASKPASS_DIR/$name"
      fi
    done
    exit 1 ;;
  *) exit 1 ;;
esac
"""


@dataclass(frozen=True)
class Credentials:
    """``environ`` is for git; ``token`` for the forge's API, None without one."""

    url: str
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)


def host_of(url: str) -> str:
    """``host`` or ``host:port`` of a URL, lower case, without the scheme's own port."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    if parts.port is None or parts.port == _DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"{host}:{parts.port}"


def is_allowed(url: str, hosts: Iterable[str]) -> bool:
    """Whether a Secret for these hosts (``host`` or ``host:port``) may be used for the URL."""
    scheme = urlsplit(url).scheme
    return host_of(url) in {host_of(f"{scheme}://{host.strip()}") for host in hosts}


def credentials_for(url: str, secret: str | None, task: Task, settings: Settings) -> Credentials:
    """Credentials for one repository.

    ConfigurationError when the Secret is missing or may not be used for the URL's host.
    """
    if secret is None:
        if urlsplit(url).scheme == "ssh":
            raise ConfigurationError(
                f"{host_of(url)} is to be reached by ssh, and no Secret is named",
                cure="name a Secret with ssh-privatekey and known_hosts",
            )
        return Credentials(url)
    hosts = task.secret_hosts.get(secret)
    if hosts is None:
        raise ConfigurationError(
            f"Secret {secret!r} is not among the task's git Secrets",
            cure="create it with `guildnet secret set ORG NAME --use git --host HOST`",
        )
    if not is_allowed(url, hosts):
        raise ConfigurationError(
            f"Secret {secret!r} may not be used for {host_of(url)}",
            cure=f"add the host to its annotation {HOSTS}, or name another Secret",
        )
    folder = settings.git_dir / secret
    user = _read(folder / "username")
    token = _read(folder / "token") or _read(folder / "password")
    if urlsplit(url).scheme == "ssh":
        environ = {"GIT_SSH_COMMAND": _ssh(secret, settings)}
        return Credentials(_with_ssh_user(url, user or "git"), environ, token)
    environ = {
        "GIT_ASKPASS": str(_askpass(settings)),
        "GUILDNET_ASKPASS_DIR": str(folder),
        "GUILDNET_ASKPASS_HOST": urlsplit(url).netloc,
        "GUILDNET_ASKPASS_USER": user or _DEFAULT_USER,
    }
    return Credentials(url, environ, token)


def secret_values(settings: Settings) -> list[str]:
    """Every value this container holds, for redaction. A user's name is none: it is often that of
    the org, and would shred every branch and URL."""
    folders = [settings.git_dir.glob("*/*"), settings.agent_dir.glob("api-key")]
    files = [path for folder in folders for path in folder if path.is_file()]
    return [value for path in files if path.name not in _NO_SECRETS if (value := _read(path))]


def _read(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_SECRET_BYTES).decode(errors="replace").strip() or None
    except (FileNotFoundError, IsADirectoryError):
        return None


def _with_ssh_user(url: str, user: str) -> str:
    """ssh URLs name no user in a task file; the Secret does, else it is ``git``."""
    parts = urlsplit(url)
    if parts.scheme != "ssh" or "@" in parts.netloc:
        return url
    return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()


def _askpass(settings: Settings) -> Path:
    path = settings.home / ".guildnet" / "askpass"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_ASKPASS)
        path.chmod(0o700)
    return path


def _ssh(secret: str, settings: Settings) -> str:
    """ssh with this Secret's key and known hosts. ssh wants the key readable by us alone.

    ConfigurationError for a Secret without one of them.
    """
    folder = settings.git_dir / secret
    for name in ("ssh-privatekey", "known_hosts"):
        if _read(folder / name) is None:
            raise ConfigurationError(
                f"Secret {secret!r} has no {name}, which a URL of ssh needs",
                cure=f"add {name} to it, or use a URL of https with a token",
            )
    key = settings.home / ".guildnet" / "keys" / secret
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key.touch(mode=0o600)
    key.write_text((_read(folder / "ssh-privatekey") or "") + "\n")
    return ssh_command(key, folder / "known_hosts")


def ssh_command(key: Path | None = None, known_hosts: Path | None = None) -> str:
    """ssh that asks nobody, trusts only these hosts, and gives up on a connection that is dead."""
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
