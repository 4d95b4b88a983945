"""The cgroups of nodes, in every hierarchy of the machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """The mounted hierarchies: a single one with cgroup v2, one for each controller with v1."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(each[1]) for each in mounts if each[2] in ("cgroup", "cgroup2")]


def create(name: str) -> None:
    """Create the cgroup `name`, whose parent exists, in every hierarchy.

    The kubelet requires its root to exist.
    """
    for hierarchy in hierarchies():
        folder = hierarchy / name
        _enable_controllers(folder.parent)
        folder.mkdir(exist_ok=True)
        # A new v1 cpuset is empty, and no process can run in it.
        for file in ("cpuset.cpus", "cpuset.mems"):
            inherited, own = folder.parent / file, folder / file
            if inherited.exists() and own.exists() and not own.read_text().strip():
                own.write_text(inherited.read_text())


def join(name: str) -> None:
    """Move this process into the cgroup `name` of every hierarchy."""
    for hierarchy in hierarchies():
        (hierarchy / name / "cgroup.procs").write_text(str(os.getpid()))


def remove(name: str, within_seconds: float = 10) -> None:
    """Kill every process in the cgroup `name` and remove it, if it exists."""
    folders = [each for each in (h / name for h in hierarchies()) if each.is_dir()]
    deadline = time.monotonic() + within_seconds
    while folders and time.monotonic() < deadline:
        for pid in {pid for folder in folders for pid in _processes(folder)}:
            _kill(pid)
        folders = [folder for folder in folders if not _is_removed(folder)]
        if folders:
            time.sleep(0.05)


def _enable_controllers(parent: Path) -> None:
    """Enable all controllers for child cgroups: with v2 the kubelet requires them at its root."""
    available = parent / "cgroup.controllers"
    if not available.exists():
        return
    for controller in available.read_text().split():
        # Fails in a container whose root cgroup has processes; then the host decides.
        with suppress(OSError):
            (parent / "cgroup.subtree_control").write_text(f"+{controller}")


def _processes(folder: Path) -> Iterator[int]:
    for file in folder.rglob("cgroup.procs"):
        try:
            yield from map(int, file.read_text().split())
        except OSError:
            continue


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _is_removed(folder: Path) -> bool:
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            return False
    return not folder.exists()
