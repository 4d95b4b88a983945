"""A real forge for the demo and tests: builds, starts and stops a local Gitea.

Gitea never runs as root. Its files are in a separate home folder that an unprivileged user can
access, whatever the mode of the folder with its record.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from guildnet.errors import GuildNetError

from . import processes
from .build_cache import exclusive
from .components import ensure
from .forge_files import Home, app_ini, connect_address, ensure_static_files, replace_address
from .layout import Layout
from .progress import Progress

_PROCESS = "gitea"
_ADMIN = "forge-admin"
_UNPRIVILEGED = "nobody"
_START_TIMEOUT = timedelta(seconds=60)
_WRITE = 'umask 077; mkdir -p "${0%/*}"; cat > "$0"'
_STOP_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Forge:
    """A running Gitea. The admin's token has all permissions; use it only for setup."""

    #: The URL for every client, including pods; without a trailing slash.
    url: str
    #: The URL for clients on this machine.
    local_url: str
    admin: str
    admin_token: str


def up(
    data_dir: Path,
    *,
    listen: str,
    root_url: str | None,
    progress: Progress,
    ssh_listen: str | None = None,
) -> Forge:
    """Start Gitea with its record in `data_dir`, restarting one that already runs there.

    `listen` is `ADDRESS:PORT`; `root_url` is the base of links and clone URLs
    (`http://ADDRESS:PORT` if None). With `ssh_listen` (`ADDRESS:PORT`) it also serves SSH. The data
    of an earlier forge in `data_dir` is kept until `down`. Raises GuildNetError if Gitea cannot be
    built or does not start.
    """
    programs = ensure("gitea", progress)
    static = ensure_static_files(progress)
    layout = Layout("forge", data_dir.resolve())
    with exclusive(layout.data / "forge.lock"), progress.step("starting Gitea"):
        home = _home(layout, programs / "gitea", static)
        url = (root_url or f"http://{listen}").rstrip("/")
        local_url = f"http://{connect_address(listen)}"
        _stop(layout)
        settings = app_ini(home, listen=listen, root_url=url, user=_user(), ssh_listen=ssh_listen)
        _write_settings(home, settings)
        _serve(layout, home, local_url)
        return Forge(url, local_url, _ADMIN, _admin_token(layout, home))


def down(data_dir: Path) -> None:
    """Stop the forge of `data_dir` and delete all its data, if it exists."""
    layout = Layout("forge", data_dir.resolve())
    if not layout.data.is_dir():
        return
    with exclusive(layout.data / "forge.lock"):
        _stop(layout)
        with suppress(OSError, ValueError, KeyError):
            _remove_home(Path(json.loads(_record(layout).read_text())["home"]))
        for file in (_record(layout), _token(layout), layout.data / "forge.lock"):
            file.unlink(missing_ok=True)
        for folder in (layout.processes, layout.logs):
            shutil.rmtree(folder, ignore_errors=True)


def _user() -> str:
    """The user that Gitea runs as, never root."""
    return _UNPRIVILEGED if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _home(layout: Layout, program: Path, static: Path) -> Home:
    """The home folder named in the record, or a new one that Gitea's user owns."""
    with suppress(OSError, ValueError, KeyError):
        recorded = Home(Path(json.loads(_record(layout).read_text())["home"]))
        if recorded.program.exists():
            return recorded
    # Not below data_dir: other users often cannot enter its parents, such as a home folder.
    home = Home(Path(tempfile.mkdtemp(prefix="guildnet-forge-", dir="/var/tmp")))
    _token(layout).unlink(missing_ok=True)
    _record(layout).write_text(json.dumps({"home": str(home.root)}))
    shutil.copytree(static, home.static)
    shutil.copy2(program, home.program)
    if os.geteuid() == 0:
        account = pwd.getpwnam(_UNPRIVILEGED)
        os.chown(home.root, account.pw_uid, account.pw_gid)
    return home


def _remove_home(home: Path) -> None:
    if home.name.startswith("guildnet-forge-"):
        shutil.rmtree(home, ignore_errors=True)


def _write_settings(home: Home, text: str) -> None:
    # As Gitea's user, because that user owns the folder and could have placed a symlink.
    if home.settings.exists():
        text = replace_address(text, _as_user(home, ["cat", home.settings]))
    _as_user(home, ["sh", "-c", _WRITE, home.settings], text)


def _serve(layout: Layout, home: Home, local_url: str) -> None:
    argv = _unprivileged([str(home.program), "web", "--config", str(home.settings)])
    process = processes.start(layout, _PROCESS, argv, _environment(home))
    processes.wait_for(
        "healthy Gitea", lambda: _is_healthy(local_url), layout, [process], _START_TIMEOUT
    )


def _is_healthy(local_url: str) -> bool:
    try:
        return httpx.get(f"{local_url}/api/healthz", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _admin_token(layout: Layout, home: Home) -> str:
    if not _token(layout).exists():
        create = ["admin", "user", "create", "--admin", "--username", _ADMIN]
        create += ["--email", f"{_ADMIN}@forge.example", "--password", secrets.token_urlsafe(24)]
        create += ["--must-change-password=false", "--access-token", "--access-token-scopes", "all"]
        output = _as_user(home, [home.program, *create, "--config", home.settings])
        _token(layout).touch(mode=0o600)
        _token(layout).write_text(output.split()[-1] if "token" in output else "")
    token = _token(layout).read_text()
    if len(token) != 40:
        raise GuildNetError(
            "Gitea returned no access token",
            place="gitea admin user create",
            cure="Remove the forge and start it again.",
        )
    return token


def _stop(layout: Layout) -> None:
    processes.stop(processes.recorded(layout), _STOP_TIMEOUT)
    # Its git child processes also carry the mark; they remain if Gitea was killed.
    processes.stop(processes.strays(layout), _STOP_TIMEOUT)
    processes.forget(layout)


def _as_user(home: Home, command: Sequence[str | Path], given: str = "") -> str:
    """Run `command` as Gitea's user and return its output. Raises GuildNetError if it fails."""
    argv = _unprivileged([str(word) for word in command])
    done = subprocess.run(
        argv,
        input=given,
        capture_output=True,
        check=False,
        text=True,
        cwd=home.root,
        env={**os.environ, **_environment(home)},
    )
    if done.returncode != 0:
        raise GuildNetError(
            f"a setup command of Gitea failed: {(done.stderr or done.stdout).strip()[-400:]}",
            place=f"gitea in {home.root}",
            cure="Remove the forge and start it again.",
        )
    return done.stdout


def _unprivileged(argv: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return argv
    account = pwd.getpwnam(_UNPRIVILEGED)
    ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids, "--no-new-privs", *argv]


def _environment(home: Home) -> dict[str, str]:
    return {
        "HOME": str(home.root),
        "USER": _user(),
        "GITEA_WORK_DIR": str(home.root),
        # Our own setting may name a file that Gitea's user cannot read.
        "GIT_CONFIG_GLOBAL": str(home.root / ".gitconfig"),
    }


def _record(layout: Layout) -> Path:
    return layout.data / "forge.json"


def _token(layout: Layout) -> Path:
    return layout.data / "admin-token"
