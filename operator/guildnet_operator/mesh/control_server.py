"""What the operator asks of a control server, and what it learns from one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AuthKey:
    """A key with which one peer joins once. `id` is the control server's, and no secret."""

    id: str
    value: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"AuthKey(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer on the control server.

    `hostname`: the name that it asked for. `owner`: the user that owns it, empty where the control
    server knows no users of tagged peers.
    """

    id: str
    hostname: str
    tags: tuple[str, ...]
    owner: str
    created_at: datetime


class ControlServer(Protocol):
    """One control server, with one credential. Every method raises MeshError, nothing else."""

    async def make_key(self, hostname: str, tags: Sequence[str], lifetime: timedelta) -> AuthKey:
        """A single-use key for an ephemeral peer with these tags."""

    async def peers(self) -> tuple[Peer, ...]:
        """The peers that can be this org's; the caller checks which are."""

    async def remove(self, peer: Peer) -> None:
        """Remove a peer; one that is gone already is no error."""
