"""The kubectl program."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from guildnet.errors import ConfigurationError


def kubectl_path() -> str:
    """The kubectl on PATH, else the one installed beside this Python."""
    beside = Path(sys.executable).parent / "kubectl"
    found = shutil.which("kubectl") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise ConfigurationError(
            "kubectl is not installed",
            place="PATH",
            cure="Install kubectl, or the package `guildnet[devcluster]`, which includes it.",
        )
    return found
