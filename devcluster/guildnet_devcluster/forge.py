"""A real forge for the demo and tests: Gitea, from nothing to serving in seconds.

It never runs as root: its files live in a home of their own that an unprivileged user can reach,
whatever the mode of the folder that holds its record.
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
from .forge_files import Home, app_ini, ensure_static_files, reachable, with_address_of
from .layout import Layout
from .progress import Progress

_PROCESS = "gitea"
_ADMIN = "forge-admin"
_UNPRIVILEGED = "nobody"
_START_WITHIN = timedelta(seconds=60)
_WRITE = 'umask 077; mkdir -p "${0%/*}"; cat > "$0"'
_END_WITHIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Forge:
    """A running Gitea. The admin's token can do everything: it is for setting things up."""

    #: How everybody, pods included, reaches it; no slash at the end.
    url: str
    #: How this machine reaches it, whatever `url` says.
    local_url: str
    admin: str
    admin_token: str


def up(data_dir: Path, *, listen: str, root_url: str | None, progress: Progress) -> Forge:
    """Start Gitea with its record in `data_dir`, or find it running there.

    `listen` is `ADDRESS:PORT`; `root_url` is the address that links and clone URLs carry
    (`http://ADDRESS:PORT` when None). What an earlier forge of `data_dir` held is still there
    until `down`. Raises GuildNetError when it cannot be built or does not serve.
    """
    programs = ensure("gitea", progress)
    static = ensure_static_files(progress)
    layout = Layout("forge", data_dir.resolve())
    with exclusive(layout.data / "forge.lock"), progress.step("starting Gitea"):
        home = _home(layout, programs / "gitea", static)
        url = (root_url or f"http://{listen}").rstrip("/")
        local_url = f"http://{reachable(listen)}"
        _stop(layout)
        _write_settings(home, app_ini(home, listen=listen, root_url=url, user=_user()))
        _serve(layout, home, local_url)
        return Forge(url, local_url, _ADMIN, _admin_token(layout, home))


def down(data_dir: Path) -> None:
    """End the forge of `data_dir` and delete all it held. Nothing happens where there is none."""
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
    """Whom Gitea runs as: never root."""
    return _UNPRIVILEGED if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _home(layout: Layout, program: Path, static: Path) -> Home:
    """The home named in the record, or a new one, laid out and owned by Gitea's user."""
    with suppress(OSError, ValueError, KeyError):
        recorded = Home(Path(json.loads(_record(layout).read_text())["home"]))
        if recorded.program.exists():
            return recorded
    # Not below data_dir, whose parents may be closed to other users (a home folder's often are).
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
    # Read and written as Gitea's user, who owns the folder and could have put a link there.
    if home.settings.exists():
        text = with_address_of(text, _as_user(home, ["cat", home.settings]))
    _as_user(home, ["sh", "-c", _WRITE, home.settings], text)


def _serve(layout: Layout, home: Home, local_url: str) -> None:
    argv = _unprivileged([str(home.program), "web", "--config", str(home.settings)])
    process = processes.start(layout, _PROCESS, argv, _environment(home))
    processes.wait_for(
        "healthy Gitea", lambda: _is_healthy(local_url), layout, [process], _START_WITHIN
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
        told = _as_user(home, [home.program, *create, "--config", home.settings])
        _token(layout).touch(mode=0o600)
        _token(layout).write_text(told.split()[-1] if "token" in told else "")
    token = _token(layout).read_text()
    if len(token) != 40:
        raise GuildNetError(
            "Gitea gave no access token", place="gitea admin user create", cure="run down, then up"
        )
    return token


def _stop(layout: Layout) -> None:
    processes.stop(processes.recorded(layout), _END_WITHIN)
    # Its git children carry the mark; they end with it, unless it was killed.
    processes.stop(processes.strays(layout), _END_WITHIN)
    processes.forget(layout)


def _as_user(home: Home, command: Sequence[str | Path], given: str = "") -> str:
    """What `command` prints when Gitea's user runs it. Raises GuildNetError when it fails."""
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
            f"Gitea refused to be set up: {(done.stderr or done.stdout).strip()[-400:]}",
            place=f"gitea in {home.root}",
            cure="run down, then up again",
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
        # Ours, where set, is a file that Gitea's user may not even read.
        "GIT_CONFIG_GLOBAL": str(home.root / ".gitconfig"),
    }


def _record(layout: Layout) -> Path:
    return layout.data / "forge.json"


def _token(layout: Layout) -> Path:
    return layout.data / "admin-token"
