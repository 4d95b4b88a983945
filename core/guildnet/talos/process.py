"""Runs a program with a deadline, bounded output and an environment of its own. Blocks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import IO

_CHUNK = 64 * 1024
_MAX_LINE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended. `is_cut` says that a stream was longer than what was kept of it."""

    status: int
    stdout: bytes
    stderr: bytes
    is_cut: bool = False
    timed_out: bool = False


class Interruption:
    """Ends programs from another thread: those that run, and from then on each that starts."""

    def __init__(self) -> None:
        self.is_set = False
        self._lock = threading.Lock()
        self._running: set[int] = set()

    def set(self) -> None:
        with self._lock:
            self.is_set = True
            for group in self._running:
                _kill(group)

    @contextmanager
    def ends(self, group: int) -> Iterator[None]:
        """End this process group too, while the block runs."""
        with self._lock:
            self._running.add(group)
            if self.is_set:
                _kill(group)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(group)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def run_bounded(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: timedelta,
    max_bytes: int,
    on_line: Callable[[str], None] | None = None,
    interruption: Interruption | None = None,
) -> Finished:
    """Run a command in a session of its own; at the deadline, or when it is interrupted, it and its
    children are killed.

    `on_line` is called, from other threads, with each line as it is written. Of each stream the
    first `max_bytes` are kept; the rest is read and dropped, so that the program never blocks on a
    full pipe. Files that it makes are private. Raises OSError when it cannot be started.
    """
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        umask=0o077,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        streams = [
            _Stream(stream, max_bytes, on_line) for stream in (process.stdout, process.stderr)
        ]
        try:
            with (interruption or Interruption()).ends(process.pid):
                process.wait(timeout.total_seconds())
            timed_out = False
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            # Also on an interrupt; a child could hold the streams open.
            _kill(process.pid)
        stdout, stderr = (stream.text() for stream in streams)
    is_cut = any(stream.is_cut for stream in streams)
    return Finished(process.returncode, stdout, stderr, is_cut, timed_out)


class _Stream:
    """Reads a stream to its end in a thread and keeps the first of it."""

    def __init__(
        self, stream: IO[bytes], max_bytes: int, on_line: Callable[[str], None] | None
    ) -> None:
        self.is_cut = False
        self._on_line = on_line
        self._line = b""
        self._stream = stream
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(self._stream.fileno(), _CHUNK):
                room = self._max_bytes - len(self._kept)
                self._kept += chunk[:room]
                self.is_cut |= len(chunk) > room
                if self._on_line is not None:
                    self._report(chunk, self._on_line)

    def _report(self, chunk: bytes, on_line: Callable[[str], None]) -> None:
        *lines, rest = (self._line + chunk).split(b"\n")
        self._line = rest[-_MAX_LINE_BYTES:]
        for line in lines:
            on_line(line[:_MAX_LINE_BYTES].decode("utf-8", "replace"))

    def text(self) -> bytes:
        self._thread.join()
        return bytes(self._kept)
