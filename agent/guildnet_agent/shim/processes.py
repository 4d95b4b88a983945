"""Finds, reaps and ends the descendants of this process, also those that detached themselves.

Process 1, or a subreaper, becomes the parent of every orphan, so no process that the command
started can leave the tree that `descendants` walks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_SECONDS = 0.05
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    is_zombie: bool


def become_subreaper() -> None:
    """Adopt orphaned descendants even if this is not process 1. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def parse_stat(text: str) -> Process:
    """One line of ``/proc/<pid>/stat``; the name in it may hold any character."""
    pid, _, rest = text.partition(" (")
    state, parent, *_ = rest[rest.rindex(")") + 2 :].split(" ", 2)
    return Process(int(pid), int(parent), state in ("Z", "X"))


def list_processes() -> dict[int, Process]:
    found = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError):
                process = parse_stat((_PROC / entry / "stat").read_text(errors="replace"))
                found[process.pid] = process
    return found


def descendants(
    processes: Mapping[int, Process], root: int, spare: Collection[int] = ()
) -> list[Process]:
    """All descendants of ``root`` except the trees of ``spare``; parents before children."""
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    open_roots = [root]
    while open_roots:
        for child in children.get(open_roots.pop(), []):
            if child.pid not in spare:
                found.append(child)
                open_roots.append(child.pid)
    return found


def reap_orphans(known: Collection[int]) -> None:
    """Reap every dead child, except ``known`` children, whose exit codes are read elsewhere."""
    me = os.getpid()
    for process in list_processes().values():
        if process.is_zombie and process.parent == me and process.pid not in known:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)


def end_descendants(
    spare: Collection[int], known: Collection[int], *, grace: float, tick: Callable[[], None]
) -> list[int]:
    """End all descendants except the trees of ``spare``. Return the pids that are still alive.

    SIGTERM first; after ``grace`` seconds SIGKILL, repeated for at most ``grace`` seconds more.
    ``tick`` is called in between: it drains pipes, so that no process blocks on writing to us.
    """

    def living() -> list[int]:
        tick()
        reap_orphans(known)
        found = descendants(list_processes(), os.getpid(), spare)
        return [process.pid for process in found if not process.is_zombie]

    _send(signal.SIGTERM, living())
    deadline = time.monotonic() + grace
    while (left := living()) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        # Stop all first, so that a process that forks repeatedly cannot outrun the kills.
        _send(signal.SIGSTOP, left)
        _send(signal.SIGKILL, left)
        time.sleep(_PAUSE_SECONDS)
        left = living()
    return left


def _send(number: signal.Signals, pids: Collection[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
