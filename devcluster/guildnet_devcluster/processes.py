"""Background programs that outlive the command: started, recorded, and stopped by process id.

A process is identified by its id and its start time, so that an id reused after a crash or a reboot
is never mistaken for ours. On Linux each also has a mark in its environment, which child processes
inherit: containers' shims are found by it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.errors import GuildNetError

from .layout import Layout

#: The environment variable with the data folder of the cluster that a process belongs to.
MARK = "GUILDNET_DEVCLUSTER"
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A started program; `started` is an opaque string that identifies its start time."""

    name: str
    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        return self.started == _started(self.pid)


def start(
    layout: Layout, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None
) -> Process:
    """Start `argv` in a new session, with its log and record under `name`.

    `environment` is added to ours. An existing log is overwritten.
    """
    layout.processes.mkdir(parents=True, exist_ok=True)
    layout.logs.mkdir(parents=True, exist_ok=True)
    log = str(layout.logs / f"{name}.log")
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    # Unlike subprocess.Popen, posix_spawn does not warn about a child that is still running.
    pid = os.posix_spawnp(
        argv[0],
        list(argv),
        {**os.environ, **(environment or {}), MARK: str(layout.data)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, write, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    process = Process(name, pid, _started(pid) or "")
    (layout.processes / f"{name}.json").write_text(json.dumps(asdict(process)))
    return process


def recorded(layout: Layout) -> list[Process]:
    """Every recorded process, running or not, sorted by name."""
    found = []
    for file in sorted(layout.processes.glob("*.json")):
        try:
            found.append(Process(**json.loads(file.read_text())))
        except (OSError, ValueError, TypeError):
            continue
    return found


def strays(layout: Layout) -> list[Process]:
    """Processes with the cluster's mark that are not recorded (Linux only)."""
    mark = f"{MARK}={layout.data}\0".encode()
    known = {process.pid for process in recorded(layout)} | {os.getpid()}
    found = []
    for folder in _PROC.glob("[0-9]*"):
        pid = int(folder.name)
        try:
            if pid not in known and mark in (folder / "environ").read_bytes() + b"\0":
                found.append(Process("stray", pid, _started(pid) or ""))
        except OSError:
            continue
    return found


def stop(processes: Iterable[Process], grace: timedelta) -> None:
    """Stop processes: SIGTERM, then SIGKILL after `grace`. Returns when none is running."""
    left = [process for process in processes if process.is_alive]
    for sent, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, timedelta(seconds=20))):
        for process in left:
            _signal(process, sent)
        deadline = time.monotonic() + patience.total_seconds()
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = [process for process in left if process.is_alive]
    if left:
        names = ", ".join(f"{process.name} ({process.pid})" for process in left)
        raise GuildNetError(
            f"processes cannot be killed: {names}", place="devcluster", cure="Reboot the machine."
        )


def forget(layout: Layout) -> None:
    """Delete the records of processes that are no longer running."""
    for process in recorded(layout):
        if not process.is_alive:
            (layout.processes / f"{process.name}.json").unlink(missing_ok=True)


def wait_for(
    what: str,
    is_true: Callable[[], bool],
    layout: Layout,
    watched: Iterable[Process],
    within: timedelta,
) -> None:
    """Wait until `is_true()`. Raises GuildNetError on timeout, or if a watched process exits."""
    needed = list(watched)
    deadline = time.monotonic() + within.total_seconds()
    while not is_true():
        for process in needed:
            if not process.is_alive:
                raise _failed(f"{process.name} exited while waiting for {what}", layout, process)
        if time.monotonic() > deadline:
            seconds = round(within.total_seconds())
            last = needed[-1] if needed else None
            raise _failed(f"no {what} within {seconds} s", layout, last)
        time.sleep(0.1)


def _failed(message: str, layout: Layout, process: Process | None) -> GuildNetError:
    if process is None:
        return GuildNetError(
            message, place=f"devcluster {layout.name}", cure=f"Read the logs in {layout.logs}."
        )
    log = layout.logs / f"{process.name}.log"
    tail = log.read_bytes()[-700:].decode(errors="replace").strip() if log.exists() else ""
    return GuildNetError(
        f"{message}; end of its log: {tail}",
        place=f"devcluster {layout.name}",
        cure=f"Read {log}, fix the cause, then run up again.",
    )


def _signal(process: Process, number: signal.Signals) -> None:
    try:
        if process.is_alive:
            os.kill(process.pid, number)
    except ProcessLookupError:
        pass


def _started(pid: int) -> str | None:
    """The start time of `pid`; None if it does not exist or is a zombie."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    if not _PROC.is_dir():
        return _started_by_ps(pid)
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        # Other threads of a zombie may still be exiting and hold its ports and files.
        threads = len(list((_PROC / str(pid) / "task").iterdir()))
    except OSError:
        return None
    is_gone = fields[0] in "ZX" and threads <= 1
    return None if is_gone else f"{boot} {fields[19]}"


def _started_by_ps(pid: int) -> str | None:
    output = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, check=False, text=True
    ).stdout.split(None, 1)
    return output[1].strip() if len(output) == 2 and not output[0].startswith("Z") else None
