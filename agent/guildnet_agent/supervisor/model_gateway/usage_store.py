"""The run's ledger on disk: read again by a restarted supervisor."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

from guildnet_agent.exchange import write_atomic
from guildnet_agent.supervisor.model_gateway.ledger import Ledger, parse_ledger

log = logging.getLogger(__name__)

_MAX_BYTES = 64 * 1024


class UsageStore:
    """One run's ledger in one file; a later run replaces it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing: asyncio.Task[None] | None = None
        self._next: tuple[int, Ledger] | None = None

    def read(self, run: int) -> Ledger | None:
        """The ledger of this run; None where none was kept."""
        try:
            with open(self._path, "rb") as file:
                value = json.loads(file.read(_MAX_BYTES))
            return parse_ledger(value["ledger"]) if value["run"] == run else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            log.error("%s is not a ledger and is ignored: %s", self._path, error)
            return None

    def keep(self, run: int, ledger: Ledger) -> None:
        """Write soon, the newest state only, without holding up the streams."""
        self._next = (run, ledger)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def flush(self) -> None:
        """Until everything is on disk."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        while self._next is not None:
            (run, ledger), self._next = self._next, None
            data = json.dumps({"run": run, "ledger": ledger.to_json()}).encode()
            try:
                await asyncio.to_thread(write_atomic, self._path, data)
            except OSError as error:
                log.error("the usage could not be kept: %s", error.strerror)
