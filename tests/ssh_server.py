"""An sshd for tests that is unpacked instead of installed.

Installing openssh-server would start a service and create a system user, so the packages are
unpacked into the cache. As root, sshd requires a user `sshd` and the folder /run/sshd; it gets both
in its own mount namespace, and the machine is not changed.
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
from guildnet_devcluster.build_cache import cache_folder, exclusive
from guildnet_devcluster.progress import Progress

_PACKAGES = ("openssh-server", "libwrap0")
_MAX_SECONDS = 120
_SEPARATION_USER = "sshd:x:74:65534::/run/sshd:/usr/sbin/nologin"


def ensure_ssh_server(progress: Progress) -> None:
    """Unpack sshd into the cache if this machine has none. Raises GuildNetError."""
    if ssh_server_program() is not None:
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise GuildNetError(
            "this machine has no sshd", cure="Install the OpenSSH server; it need not run."
        )
    with exclusive(cache_folder() / "sshd.lock"):
        if ssh_server_program() is None:
            with progress.step("unpacking an sshd for tests", timedelta(seconds=10)):
                _unpack(_folder())


def ssh_server_program() -> Path | None:
    """The machine's sshd, else the one in the cache; None if neither exists."""
    installed = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if installed is not None:
        return Path(installed)
    unpacked = _folder() / "usr" / "sbin" / "sshd"
    return unpacked if unpacked.is_file() else None


def ssh_server_command(config: Path, *options: str) -> list[str]:
    """The command that runs sshd in the foreground with this configuration file.

    For root it also writes the file `passwd` next to the configuration, which sshd sees as
    /etc/passwd.
    """
    program = ssh_server_program()
    assert program is not None, "call ensure_ssh_server first"
    libraries = [str(path) for path in _folder().glob("*/**/*-linux-gnu") if path.is_dir()]
    argv = [
        *("env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(program)),
        *("-f", str(config), *options),
    ]
    if os.geteuid() != 0:
        return argv
    users = config.with_name("passwd")
    users.write_text(f"{Path('/etc/passwd').read_text()}{_SEPARATION_USER}\n")
    script = (
        f"mount --bind {shlex.quote(str(users))} /etc/passwd && mount -t tmpfs none /run"
        f" && mkdir -m 755 /run/sshd && exec {shlex.join(argv)}"
    )
    return ["unshare", "--mount", "sh", "-c", script]


def _folder() -> Path:
    return cache_folder() / "sshd"


def _unpack(folder: Path) -> None:
    """Download and unpack the packages atomically: an interrupted download leaves nothing."""
    with TemporaryDirectory(dir=folder.parent, prefix="sshd-") as scratch:
        unpacked_root = Path(scratch) / "unpacked_root"
        # Update the package lists once, in case they are empty or stale.
        if _run(["apt-get", "download", *_PACKAGES], scratch) != "":
            _run(["apt-get", "update"], scratch)
            if problem := _run(["apt-get", "download", *_PACKAGES], scratch):
                raise GuildNetError(f"{' and '.join(_PACKAGES)} cannot be downloaded: {problem}")
        for package in Path(scratch).glob("*.deb"):
            if problem := _run(["dpkg-deb", "-x", str(package), str(unpacked_root)], scratch):
                raise GuildNetError(f"{package.name} cannot be unpacked: {problem}")
        unpacked_root.rename(folder)


def _run(argv: Sequence[str], folder: str) -> str:
    """Run a command; return the end of its error output, or "" if it succeeded."""
    try:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, check=False, timeout=_MAX_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took longer than {_MAX_SECONDS} s"
    return "" if done.returncode == 0 else done.stderr.strip()[-400:] or "no error output"
