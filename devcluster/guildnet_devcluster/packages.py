"""Debian packages for nodes and image builds, installed on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta

from guildnet.errors import GuildNetError

from .build_cache import cache_folder, exclusive
from .progress import Progress

#: Packages that a node requires.
NODE_PACKAGES = ("containernetworking-plugins", "iptables", "iproute2")
#: Packages that image builds require.
IMAGE_PACKAGES = ("debootstrap", "buildah")


def ensure_packages(names: Sequence[str], progress: Progress) -> None:
    """Install the missing packages of `names` with apt-get, which requires root.

    Raises GuildNetError naming the packages if they cannot be installed.
    """
    if not _missing(names):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise GuildNetError(
            f"packages are missing on this machine: {', '.join(_missing(names))}",
            place="system packages",
            cure="Install them with the system's package manager, or run as root on Debian.",
        )
    with exclusive(cache_folder() / "apt.lock"):
        wanted = _missing(names)
        if wanted:
            title = f"installing Debian packages: {' '.join(wanted)}"
            with progress.step(title, timedelta(seconds=30)):
                _install(wanted)


def _install(names: Sequence[str]) -> None:
    install = ["install", "--yes", "--no-install-recommends", *names]
    # On a new machine the package lists are empty or stale: update them only if needed.
    if _apt(install).returncode == 0:
        return
    _apt(["update"])
    done = _apt(install)
    if done.returncode != 0:
        raise GuildNetError(
            f"apt-get could not install {' '.join(names)}: {done.stderr.strip()[-400:]}",
            place="system packages",
            cure=f"Run `apt-get update && apt-get install {' '.join(names)}` to see the cause.",
        )


def _apt(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # Wait for another apt process, such as unattended upgrades.
    options = ["-o", "DPkg::Lock::Timeout=300"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        ["apt-get", *options, *arguments],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
    )


def _missing(names: Sequence[str]) -> list[str]:
    if shutil.which("dpkg-query") is None:
        return list(names)
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names],
        capture_output=True,
        check=False,
        text=True,
    )
    installed = {
        line.split()[0] for line in listed.stdout.splitlines() if line.endswith(" installed")
    }
    return [name for name in names if name not in installed]
