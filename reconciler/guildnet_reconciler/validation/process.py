"""One worker process, seen from the reconciler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

from guildnet.errors import ConfigurationError
from guildnet.resources import Source
from guildnet_reconciler.validation.limits import MEMORY_BYTES, Limits
from guildnet_reconciler.validation.verdict import Load, R, Verdict

_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


class WorkerEnded(Exception):
    """The process ended instead of answering. `is_by_limit` says whether a limit ended it."""

    def __init__(self, message: str, *, is_by_limit: bool) -> None:
        super().__init__(message)
        self.is_by_limit = is_by_limit


class WorkerProcess:
    """Answers one request at a time. It has none of the reconciler's descriptors, and of its
    environment only what Python needs."""

    def __init__(self) -> None:
        """Start it; does not wait until it is ready. Raises ConfigurationError."""
        self.idle_since = time.monotonic()
        try:
            self._connection, self._process = _started()
        except OSError as error:
            raise ConfigurationError(
                f"a process that validates files cannot be started: {error}",
                cure="raise the limits on processes and memory of the reconciler",
            ) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def validate(
        self, load: Load[R], files: Sequence[tuple[Source, bytes]], limits: Limits
    ) -> list[Verdict[R]]:
        """One verdict for each file, in order; blocks. Raises WorkerEnded: do not use it again."""
        try:
            self._connection.send((load, files, limits))
            if not self._connection.poll(limits.seconds):
                self.end()
                message = f"validating it took more than {limits.seconds:g} s"
                raise WorkerEnded(message, is_by_limit=True)
            answer = self._connection.recv()
        except (OSError, EOFError) as error:
            self.end(kill=False)
            raise self._ended(limits) from error
        if isinstance(answer, MemoryError):
            self.end()
            message = f"validating it took more than {MEMORY_BYTES // 2**20} MiB of memory"
            raise WorkerEnded(message, is_by_limit=True)
        if isinstance(answer, BaseException):
            raise answer
        return list(answer)

    def _ended(self, limits: Limits) -> WorkerEnded:
        code = self._process.returncode
        if code == -signal.SIGXCPU:
            message = f"validating it took more than {limits.cpu_seconds} s of CPU"
            return WorkerEnded(message, is_by_limit=True)
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return WorkerEnded(f"the process that validates files ended {how}", is_by_limit=False)

    def kill(self) -> None:
        """Make the call of `validate` in another thread raise WorkerEnded."""
        self._process.kill()

    def end(self, *, kill: bool = True) -> None:
        """End it, and wait until it is gone."""
        self._connection.close()
        if kill:
            self._process.kill()
        try:
            self._process.wait(1)  # its end of the connection is closed
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _started() -> tuple[Connection[Any, Any], subprocess.Popen[bytes]]:
    ours, theirs = Pipe()
    with theirs:
        command = [sys.executable, "-P", "-m", "guildnet_reconciler.validation.worker"]
        process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            env=_environment(),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    return ours, process


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
