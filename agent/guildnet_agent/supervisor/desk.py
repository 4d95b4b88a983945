"""What every step works with, and how a step says that its start is over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from guildnet.redact import Redactor
from guildnet.units import rfc3339
from guildnet_agent.exchange import BUNDLE
from guildnet_agent.supervisor.collect import ArtifactStore
from guildnet_agent.supervisor.contexts import ContextSource
from guildnet_agent.supervisor.journal import Journal
from guildnet_agent.supervisor.state import Failure, StateBoard


class StartStopped(Exception):
    """Told to stop before there was anything to hand over, or while publishing had to wait."""


class StartFailed(Exception):
    """The start is over; why is in ``failure``."""

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
class Desk:
    """The parts that a step takes its material from and puts its results on."""

    source: ContextSource
    journal: Journal
    store: ArtifactStore
    board: StateBoard
    redact: Redactor

    @property
    def exchange_in(self) -> Path:
        return self.source.settings.exchange_in

    @property
    def exchange_out(self) -> Path:
        return self.source.settings.exchange_out

    @property
    def bundle(self) -> Path:
        """Our own copy of the work side's bundle."""
        return self.source.settings.home / ".guildnet" / BUNDLE


def now() -> str:
    """The time as the state tells it."""
    return rfc3339(datetime.now(UTC))
