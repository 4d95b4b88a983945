"""An sshd for tests, without installing one: installing openssh-server would start a service and
make a system user.

The packages are unpacked into the cache. As root, sshd wants a user `sshd` and the folder
/run/sshd; it gets both in a mount namespace of its own, and the machine stays as it was.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from guildnet.errors import GuildNetError

from .build_cache import cache_folder, exclusive
from .progress import Progress

_PACKAGES = ("openssh-server", "libwrap0")
_MAX_SECONDS = 120
_SEPARATION_USER = "sshd:x:74:65534::/run/sshd:/usr/sbin/nologin"


def ensure_ssh_server(progress: Progress) -> None:
    """Unpack sshd into the cache where this machine has none. Raises GuildNetError."""
    if ssh_server_program() is not None:
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise GuildNetError(
            "there is no sshd on this machine", cure="install OpenSSH's server, unstarted"
        )
    with exclusive(cache_folder() / "sshd.lock"):
        if ssh_server_program() is None:
            with progress.step("unpacking an sshd for tests", timedelta(seconds=10)):
                _unpack(_folder())


def ssh_server_program() -> Path | None:
    """The machine's sshd, else the one in the cache; None where there is neither."""
    installed = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if installed is not None:
        return Path(installed)
    unpacked = _folder() / "usr" / "sbin" / "sshd"
    return unpacked if unpacked.is_file() else None


def ssh_server_command(config: Path, *options: str) -> list[str]:
    """The command line of an sshd for this configuration file, which stays in the foreground.

    Beside the configuration it writes the `passwd` that a root's sshd sees.
    """
    program = ssh_server_program()
    assert program is not None, "call ensure_ssh_server first"
    libraries = [str(path) for path in _folder().glob("*/**/*-linux-gnu") if path.is_dir()]
    words = [
        *("env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(program)),
        *("-f", str(config), *options),
    ]
    if os.geteuid() != 0:
        return words
    users = config.with_name("passwd")
    users.write_text(f"{Path('/etc/passwd').read_text()}{_SEPARATION_USER}\n")
    script = (
        f"mount --bind {shlex.quote(str(users))} /etc/passwd && mount -t tmpfs none /run"
        f" && mkdir -m 755 /run/sshd && exec {shlex.join(words)}"
    )
    return ["unshare", "--mount", "sh", "-c", script]


def _folder() -> Path:
    return cache_folder() / "sshd"


def _unpack(folder: Path) -> None:
    """Complete, or not at all: a download that broke off leaves nothing behind."""
    with TemporaryDirectory(dir=folder.parent, prefix="sshd-") as passing:
        made = Path(passing) / "made"
        # One update where the list of packages is empty or names what is gone.
        if _run(["apt-get", "download", *_PACKAGES], passing) != "":
            _run(["apt-get", "update"], passing)
            if problem := _run(["apt-get", "download", *_PACKAGES], passing):
                raise GuildNetError(f"{' and '.join(_PACKAGES)} cannot be downloaded: {problem}")
        for package in Path(passing).glob("*.deb"):
            if problem := _run(["dpkg-deb", "-x", str(package), str(made)], passing):
                raise GuildNetError(f"{package.name} cannot be unpacked: {problem}")
        made.rename(folder)


def _run(words: Sequence[str], folder: str) -> str:
    """The end of what a command that failed said; empty where it did not fail."""
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, check=False, timeout=_MAX_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{words[0]} took longer than {_MAX_SECONDS} s"
    return "" if done.returncode == 0 else done.stderr.strip()[-400:] or "it gave no reason"
