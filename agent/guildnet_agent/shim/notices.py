"""Copies the supervisor's notices to the command's log."""

from __future__ import annotations

from pathlib import Path

from guildnet_agent.exchange import MAX_NOTICES_BYTES, NOTICES
from guildnet_agent.shim.log import OutputLog


class Notices:
    """Copies the lines that were added since the last call."""

    def __init__(self, exchange_in: Path, log: OutputLog) -> None:
        self._path = exchange_in / NOTICES
        self._log = log
        self._read = 0

    def tick(self) -> None:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                data = file.read(MAX_NOTICES_BYTES)
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self._log.note(line)
