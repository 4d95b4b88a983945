"""Gitea's files: its settings, and the templates that its program does not embed."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from .build_cache import cache_folder, exclusive
from .components import COMPONENTS, module_folder
from .progress import Progress

_STATIC_FOLDERS = ("options", "public", "templates")
_SSH_KEYS = ("DISABLE_SSH", "START_SSH_SERVER", "SSH_LISTEN_HOST", "SSH_LISTEN_PORT", "SSH_PORT")
_ADDRESS_KEYS = frozenset({"HTTP_ADDR", "HTTP_PORT", "DOMAIN", "ROOT_URL", *_SSH_KEYS})
#: Addresses to listen on that clients cannot connect to.
_WILDCARDS = frozenset({"", "0.0.0.0", "[::]"})  # noqa: S104  compared, not bound


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one Gitea, all below `root`."""

    root: Path

    @property
    def program(self) -> Path:
        return self.root / "gitea"

    @property
    def static(self) -> Path:
        return self.root / "static"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def settings(self) -> Path:
        return self.root / "conf" / "app.ini"


def app_ini(
    home: Home, *, listen: str, root_url: str, user: str, ssh_listen: str | None = None
) -> str:
    """Gitea's settings: SQLite, no mail, no registration, webhooks to any host, an OpenID provider.

    A push reaches a webhook through two queues. Gitea polls its default queues on disk, with a
    delay of up to 2 s each; queues in memory have no delay.
    """
    address, _, port = listen.rpartition(":")
    return f"""\
APP_NAME = GuildNet's forge
RUN_USER = {user}
RUN_MODE = prod
WORK_PATH = {home.root}

[server]
PROTOCOL = http
HTTP_ADDR = {address}
HTTP_PORT = {port}
DOMAIN = {urlsplit(root_url).hostname}
ROOT_URL = {root_url}/
STATIC_ROOT_PATH = {home.static}
APP_DATA_PATH = {home.data}
{_ssh(ssh_listen)}
OFFLINE_MODE = true

[database]
DB_TYPE = sqlite3
PATH = {home.data}/gitea.db
SQLITE_JOURNAL_MODE = WAL

[repository]
ROOT = {home.data}/repositories
DEFAULT_BRANCH = main

[security]
INSTALL_LOCK = true
PASSWORD_HASH_ALGO = pbkdf2_v1

[service]
DISABLE_REGISTRATION = true

[oauth2]
ENABLED = true

[webhook]
ALLOWED_HOST_LIST = *
DELIVER_TIMEOUT = 10

[queue.push_update]
TYPE = channel

[queue.webhook_sender]
TYPE = channel

[session]
PROVIDER = memory

[indexer]
ISSUE_INDEXER_TYPE = db

[actions]
ENABLED = false

[packages]
ENABLED = false

[log]
MODE = console
LEVEL = Warn

[cron]
ENABLED = false
"""


def _ssh(listen: str | None) -> str:
    """The settings of Gitea's own SSH server, which runs as its user. Always the same keys."""
    address, _, port = (listen or "127.0.0.1:22").rpartition(":")
    values = ("false", "true") if listen else ("true", "false")
    pairs = zip(_SSH_KEYS, (*values, address, port, port), strict=True)
    return "\n".join(f"{key} = {value}" for key, value in pairs)


def replace_address(fresh: str, kept: str) -> str:
    """The settings `kept`, including secrets that Gitea added, with the address of `fresh`."""
    address = {key: line for line in fresh.splitlines() if (key := _key(line)) in _ADDRESS_KEYS}
    return "\n".join(address.get(_key(line), line) for line in kept.splitlines()) + "\n"


def connect_address(listen: str) -> str:
    """The `ADDRESS:PORT` at which clients on this machine reach `listen`."""
    address, _, port = listen.rpartition(":")
    return f"{'127.0.0.1' if address in _WILDCARDS else address}:{port}"


def _key(line: str) -> str:
    return line.partition("=")[0].strip()


def ensure_static_files(progress: Progress) -> Path:
    """The folder with Gitea's templates, options and public files, copied once from its module."""
    component = COMPONENTS["gitea"]
    kept = cache_folder() / "components" / f"gitea-static-{component.version}"
    if kept.is_dir():
        return kept
    with exclusive(cache_folder() / "gitea-static.lock"):
        if not kept.is_dir():
            with progress.step("fetching Gitea's templates", timedelta(seconds=10)):
                _copy_static(module_folder(component, component.packages[0], progress), kept)
    return kept


def _copy_static(module: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".gitea-static-", dir=kept.parent))
    try:
        for name in _STATIC_FOLDERS:
            shutil.copytree(module / name, scratch / name)
        # Go modules are read-only; the copy must be removable, and readable by Gitea's user.
        for folder, _, files in os.walk(scratch):
            Path(folder).chmod(0o755)
            for name in files:
                (Path(folder) / name).chmod(0o644)
        scratch.rename(kept)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
