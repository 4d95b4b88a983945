"""What every step works with, and how a step says that its start is over."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guildnet.agent_api.state import Failure, StartId
from guildnet.redact import Redactor
from guildnet_agent.exchange import BUNDLE
from guildnet_agent.supervisor.artifacts import ArtifactStore
from guildnet_agent.supervisor.contexts.fetch import ContextSource
from guildnet_agent.supervisor.journal import Event, Journal
from guildnet_agent.supervisor.models import Models
from guildnet_agent.supervisor.state_board import StateBoard

log = logging.getLogger(__name__)


class StartStopped(Exception):
    """A stop was requested before there was work to hand over, or while publishing had to wait."""


class StartFailed(Exception):
    """The start is over; ``failure`` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class StopRequest:
    """Whether, and why, the start under way is to end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason = ""

    @property
    def is_made(self) -> bool:
        return self._event.is_set()

    def make(self, reason: str) -> None:
        self.reason = reason
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()


@dataclass(frozen=True)
class StepContext:
    """The parts that a step takes its material from and puts its results on."""

    source: ContextSource
    journal: Journal
    store: ArtifactStore
    board: StateBoard
    redact: Redactor
    models: Models

    @property
    def exchange_in(self) -> Path:
        return self.source.settings.exchange_in

    @property
    def exchange_out(self) -> Path:
        return self.source.settings.exchange_out

    def note(self, event: Event, start: StartId, data: dict[str, Any]) -> None:
        """Journal what cannot be undone; a full disk only costs what a restart would read there."""
        try:
            self.journal.append(event, start, data)
        except OSError as error:
            log.warning("%s: the journal lacks %r: %s", start, event, error)

    @property
    def bundle(self) -> Path:
        """Our own copy of the work side's bundle."""
        return self.source.settings.home / ".guildnet" / BUNDLE


def now() -> datetime:
    """The time in whole seconds, as state and journal hold it."""
    return datetime.now(UTC).replace(microsecond=0)
