"""Writes the command's output, redacted, to a bounded log file and to the container's output."""

from __future__ import annotations

import codecs
import contextlib
import os
from pathlib import Path
from typing import BinaryIO

from guildnet.redact import Redactor
from guildnet_agent.exchange import LOG, MAX_LOG_BYTES, OLD_LOG

# The command can replace its log with a pipe or a link: neither may block the shim.
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OutputLog:
    """Appends to ``log`` in a folder; a full one replaces ``log.1``."""

    def __init__(self, folder: Path, redactor: Redactor, echo: BinaryIO) -> None:
        self._folder = folder
        self._echo = echo
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stream = redactor.stream()

    def write(self, data: bytes) -> None:
        """Write a piece of the command's output; it may end within a line or character."""
        self._put(self._stream.feed(self._decoder.decode(data)))

    def note(self, text: str) -> None:
        """Write a line of the shim itself."""
        self.flush()
        self._put(self._stream.feed(f"guildnet: {text}\n"))
        self.flush()

    def flush(self) -> None:
        """Write text that was held back because a secret could begin with it."""
        self._put(self._stream.feed(self._decoder.decode(b"", final=True)) + self._stream.flush())
        self._decoder.reset()

    def _put(self, text: str) -> None:
        data = text.encode()
        if not data:
            return
        # A full disk or a closed output must not end the command.
        with contextlib.suppress(OSError):
            self._echo.write(data)
            self._echo.flush()
        with contextlib.suppress(OSError):
            self._append(data[-MAX_LOG_BYTES:])

    def _append(self, data: bytes) -> None:
        path = self._folder / LOG
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_size + len(data) > MAX_LOG_BYTES:
                os.replace(path, self._folder / OLD_LOG)
        with open(os.open(path, _APPENDING, 0o644), "ab") as file:
            file.write(data)
