"""The events of the current start, on disk; a restarted supervisor reads them.

JSON lines, each synced before `append` returns. The file holds one start, and a new start replaces
it: start numbers only grow, so an older start never continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from guildnet.agent_api.state import StartId
from guildnet_agent.exchange import write_atomic

Event = Literal["begun", "handed_over", "running", "exhausted", "ended", "finished"]
#: Events as earlier versions wrote them.
_RENAMED: Mapping[str, Event] = {"told": "handed_over"}
MAX_JOURNAL_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One line: an event, its start, and the data needed to continue from it."""

    event: Event
    id: StartId
    data: dict[str, Any]


class Journal:
    """The journal of the latest start."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Entry]:
        """All complete entries; a last line that a crash cut off is ignored."""
        try:
            with open(self._path, "rb") as file:
                lines = file.read(MAX_JOURNAL_BYTES).split(b"\n")
        except FileNotFoundError:
            return []
        entries = []
        for line in lines[:-1]:
            raw = json.loads(line)
            event = _RENAMED.get(raw["event"], raw["event"])
            entries.append(Entry(event, StartId(**raw["id"]), raw["data"]))
        return entries

    def begin(self, start: StartId, data: dict[str, Any]) -> None:
        """Replace the journal of the previous start with that of a new one."""
        write_atomic(self._path, _line("begun", start, data))

    def append(self, event: Event, start: StartId, data: dict[str, Any] | None = None) -> None:
        with open(self._path, "r+b") as file:
            file.seek(self._whole_length(file.seek(0, os.SEEK_END)))
            file.truncate()
            file.write(_line(event, start, data or {}))
            file.flush()
            os.fsync(file.fileno())

    def _whole_length(self, size: int) -> int:
        """Where the last complete line ends, so that an incomplete one is overwritten."""
        content = self._path.read_bytes()[:size]
        return content.rfind(b"\n") + 1


def _line(event: Event, start: StartId, data: dict[str, Any]) -> bytes:
    entry = {"event": event, "id": asdict(start), "data": data}
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
