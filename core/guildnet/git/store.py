"""The folder of a mirror: creates it, configures it, and removes locks that a crash left."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from guildnet.errors import GitError
from guildnet.git.process import IsolatedGit
from guildnet.redact import strip_url
from guildnet.state_folder import FolderLock, private_folder

_OWN_CONFIG = {
    "core.hooksPath": os.devnull,
    "core.logAllRefUpdates": "false",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "transfer.fsckObjects": "true",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "15",
}


def prepare(commands: IsolatedGit, path: Path, url: str) -> FolderLock:
    """Make `path` the bare repository that mirrors `url`; return the lock on it.

    Close the lock together with the mirror.

    Raises GitError for a folder that cannot be written or that mirrors another repository,
    ConfigurationError for one that another process uses.
    """
    try:
        private_folder(path)
        lock = FolderLock(path / "guildnet.lock", "a mirror")
    except OSError as error:
        raise GitError(f"cannot be written: {error}", place=str(path)) from error
    try:
        if lock.is_first:
            _sweep_locks(path)
        _configure(commands, path, url)
    except BaseException:
        lock.close()
        raise
    return lock


def _configure(commands: IsolatedGit, path: Path, url: str) -> None:
    if not (path / "HEAD").is_file():
        commands.run("init", "--bare", "-q", "--template=", "--initial-branch=none")
    file = str(path / "config")
    config = _settings(commands.run("config", "--file", file, "-z", "--list"))
    known = config.get("guildnet.url")
    if known is not None and known != url:
        raise GitError(
            f"this folder mirrors {strip_url(known)}",
            place=str(path),
            cure="use another state directory, or delete this folder",
        )
    for key, value in {**_OWN_CONFIG, "guildnet.url": url}.items():
        if config.get(key.lower()) != value:
            commands.run("config", "--file", file, key, value)


def _settings(output: bytes) -> Mapping[str, str]:
    pairs = (item.partition("\n") for item in output.decode("utf-8", "replace").split("\0"))
    return {key: value for key, _, value in pairs}


def _sweep_locks(path: Path) -> None:
    """Remove the lock files of killed git processes, which would stop all later ones.

    Call it only while no other process uses this folder.
    """
    tops = [
        *("config.lock", "HEAD.lock", "packed-refs.lock", "shallow.lock", "gc.pid"),
        "objects/info/commit-graphs/commit-graph-chain.lock",
    ]
    for lock in [*(path / top for top in tops), *(path / "refs").rglob("*.lock")]:
        lock.unlink(missing_ok=True)
