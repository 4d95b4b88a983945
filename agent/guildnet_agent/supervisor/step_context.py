"""What the steps of a start share: parts of the supervisor, stop requests, and ways to end."""

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
    """A stop was requested before there was any work, or while publishing waited for a retry."""


class StartFailed(Exception):
    """The start has failed; ``failure`` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class StopRequest:
    """Whether the current start should stop, and why."""

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
    """The parts of the supervisor that a step reads from and writes to."""

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
        """Record an event; a full disk does not fail the start, only a later restart lacks it."""
        try:
            self.journal.append(event, start, data)
        except OSError as error:
            log.warning("%s: event %r could not be written to the journal: %s", start, event, error)

    @property
    def bundle(self) -> Path:
        """The supervisor's own copy of the bundle from the work container."""
        return self.source.settings.home / ".guildnet" / BUNDLE


def now() -> datetime:
    """The time in whole seconds, as state and journal hold it."""
    return datetime.now(UTC).replace(microsecond=0)
