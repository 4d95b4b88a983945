"""Writes an agent's output to the log, line by line, as its preset makes it readable."""

from __future__ import annotations

import codecs

from guildnet_agent.presets.preset import Transcript
from guildnet_agent.shim.log import OutputLog

MAX_LINE_CHARACTERS = 4 * 1024 * 1024


class TranscriptLog:
    """Collects output into lines. A line that is too long is replaced with a note."""

    def __init__(self, log: OutputLog, transcript: Transcript) -> None:
        self._log = log
        self._transcript = transcript
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._open = ""
        self._is_dropping = False

    def write(self, data: bytes) -> None:
        first, *others = self._decoder.decode(data).split("\n")
        self._extend(first)
        for piece in others:
            self._end_line()
            self._extend(piece)

    def flush(self) -> None:
        """Write the last line, which may lack its newline."""
        self._extend(self._decoder.decode(b"", final=True))
        if self._open or self._is_dropping:
            self._end_line()
        self._log.flush()

    def _extend(self, piece: str) -> None:
        if len(self._open) + len(piece) > MAX_LINE_CHARACTERS:
            self._open, self._is_dropping = "", True
        elif not self._is_dropping:
            self._open += piece

    def _end_line(self) -> None:
        line, self._open = self._open.rstrip("\r"), ""
        if self._is_dropping:
            self._is_dropping = False
            lines = ["guildnet: a line of the agent's output was too long and is left out"]
        else:
            lines = list(self._transcript.read(line))
        for shown in lines:
            self._log.write(f"{shown}\n".encode(errors="replace"))
