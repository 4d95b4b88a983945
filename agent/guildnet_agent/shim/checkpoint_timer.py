"""Starts a checkpoint every few minutes while the command runs, one at a time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from guildnet_agent.exchange import ExchangeRefused, open_new, read_regular
from guildnet_agent.job import Job
from guildnet_agent.settings import Settings
from guildnet_agent.shim.handover import published_context
from guildnet_agent.shim.log import OutputLog

_MAX_OUTPUT_BYTES = 64 * 1024
_MAX_SHOWN_CHARACTERS = 500


class CheckpointTimer:
    """Starts the process that makes a checkpoint, and logs why one failed."""

    def __init__(
        self, job: Job, settings: Settings, environ: Mapping[str, str], log: OutputLog
    ) -> None:
        self._environ = dict(environ)
        self._log = log
        self._interval = settings.checkpoint_seconds
        self._is_wanted = self._interval > 0 and published_context(job) is not None
        self._next = time.monotonic() + self._interval
        self._output = settings.home / ".guildnet" / "checkpoint.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> frozenset[int]:
        """The child process whose exit code is read here; it must not be reaped elsewhere."""
        return frozenset({self._process.pid}) if self._process else frozenset()

    def tick(self) -> None:
        """Start the next checkpoint if it is due, or check whether the current one has ended."""
        if self._process is not None:
            self._finish(self._process)
        elif self._is_wanted and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._interval
            self._process = self._begin()

    def close(self) -> None:
        """Forget the current process: it was ended with the command."""
        if self._process is not None:
            self._process.poll()
            self._process = None

    def _begin(self) -> subprocess.Popen[bytes] | None:
        try:
            with open(open_new(self._output), "wb") as output:
                return subprocess.Popen(
                    [sys.executable, "-m", "guildnet_agent.shim.checkpoint"],
                    env=self._environ,
                    cwd="/",  # where the command cannot put Python modules
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            self._log.note(f"checkpoint failed: {error.strerror}")
            return None

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        code = process.poll()
        if code is None:
            return
        self._process = None
        if code != 0:
            self._log.note(f"checkpoint failed: {_read_end(self._output)}")


def _read_end(path: Path) -> str:
    try:
        data = read_regular(path.parent, path.name, _MAX_OUTPUT_BYTES) or b""
    except ExchangeRefused as error:
        return str(error)
    return data.decode(errors="replace").strip()[-_MAX_SHOWN_CHARACTERS:]
