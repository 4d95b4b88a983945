"""What a node or a mesh can leave on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from guildnet_devcluster.layout import RUNTIME

CGROUPS = Path("/sys/fs/cgroup")


def machine_state() -> dict[str, list[str]]:
    """Everything that a node could leave on this machine, by kind."""

    def lines(*command: str) -> list[str]:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return sorted(line for line in output.splitlines() if not line.startswith(("#", ":")))

    return {
        "mounts": sorted(Path("/proc/self/mounts").read_text().splitlines()),
        "namespaces": lines("ip", "netns", "list"),
        "links": lines("ip", "-brief", "link"),
        "routes": lines("ip", "route"),
        "rules": lines("iptables-save"),
        "cgroups": entries(CGROUPS),
        "runtime": entries(RUNTIME),
        "shims": entries(Path("/run/containerd")),
        "logs": contents(Path("/var/log/containers"), os.readlink),
        "results": contents(Path("/var/lib/cni/results"), lambda path: Path(path).read_text()),
    }


def entries(folder: Path) -> list[str]:
    """All paths under `folder`; other clusters may change it meanwhile."""
    return sorted(
        os.path.join(path, name)
        for path, folders, files in os.walk(folder)
        for name in (*folders, *files)
    )


def contents(folder: Path, read: Callable[[str], str]) -> list[str]:
    found = []
    for path in entries(folder):
        with suppress(FileNotFoundError):
            found.append(read(path))
    return found


def of(name: str, state: dict[str, list[str]], extra_marks: tuple[str, ...]) -> list[str]:
    """The entries of `state` that belong to cluster `name`."""
    marks = (name, *extra_marks)
    return [entry for kind in state.values() for entry in kind if any(w in entry for w in marks)]


def slot_marks(slot: int, data: Path) -> tuple[str, ...]:
    """Strings that identify what the owner `data` of a network slot leaves behind; none if another
    cluster has the slot by now. Ask after `machine_state`, so that the answer holds for it.
    """
    claim = RUNTIME / "slots" / str(slot)
    if claim.exists() and claim.read_text() != str(data):
        return ()
    return (f"198.18.{slot}.", f"198.19.{slot}.", f"gn-{slot} ", f"gn-{slot}@")
