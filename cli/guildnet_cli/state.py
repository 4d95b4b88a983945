"""The state folder on this machine, and where in it kubeconfigs and mirrors are."""

from __future__ import annotations

import os
from pathlib import Path


def state_dir() -> Path:
    """GUILDNET_STATE_DIR, or ~/.guildnet/state."""
    named = os.environ.get("GUILDNET_STATE_DIR")
    return Path(named) if named else Path.home() / ".guildnet" / "state"


def kubeconfig_path(name: str) -> Path:
    """Where the kubeconfig called `name` is kept. `name` has the shape of an org's name."""
    return state_dir() / "kube" / f"{name}.config"


def stored_orgs() -> list[str]:
    """The names under which kubeconfigs are stored."""
    return sorted(
        path.name.removesuffix(".config") for path in (state_dir() / "kube").glob("*.config")
    )
