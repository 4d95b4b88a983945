"""Limits on the connections of one peer and of all peers together. Pure: no I/O, no clock."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

_SHARE = 4
"""One descriptor in four is for connections; git and connections to clusters use the rest."""


def peer_address(peer: str, own: str) -> str:
    """The name that a connection counts under: an IPv4 address, or the /64 network of an IPv6 one.

    `own` is the server's address of that connection; other functions of this form may use it.
    """
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@dataclass(frozen=True)
class Limits:
    """The bounds of one server."""

    total: int = 512
    """Connections at once, at most a quarter of the descriptor limit."""

    per_peer: int = 128
    """Connections of one peer at once, at most a quarter of `total`. A reverse proxy counts as one
    peer and needs a connection for each request in progress and each open page."""

    head_seconds: float = 10.0
    """From the connection or the previous answer until the head of a request is complete; also
    the limit of the TLS handshake."""

    body_seconds: float = 60.0
    """From the head until the body is complete: 25 MiB at 3.5 Mbit/s. Forges give up earlier."""

    stall_seconds: float = 30.0
    """How long a peer may leave an answer unread before it is disconnected."""

    peer: Callable[[str, str], str] = peer_address
    """From the addresses of peer and server to the name that a connection counts under."""

    def within(self, descriptors: int) -> Limits:
        """These limits, reduced for a process with that many descriptors."""
        total = max(1, min(self.total, descriptors // _SHARE))
        return replace(self, total=total, per_peer=max(1, min(self.per_peer, total // 4)))


class Connection(Protocol):
    """A counted connection. `waits` is true until a complete request has arrived."""

    @property
    def peer(self) -> str: ...
    @property
    def waits(self) -> bool: ...


C = TypeVar("C", bound=Connection)


class Admission(Generic[C]):
    """The open connections, oldest first for each peer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[str, dict[C, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[C]:
        return (connection for opened in self._open.values() for connection in opened)

    def make_room(self, peer: str) -> tuple[bool, C | None]:
        """Whether a new connection of `peer` may be opened, and which one to close for it.

        A waiting connection is closed for a new one, so that half-open connections cannot block
        others: the oldest of the same peer if that peer is at its limit, else the oldest of the
        peer with the most connections.
        """
        if len(self._open.get(peer, ())) >= self._limits.per_peer:
            victim = self._oldest_waiting(peer)
            return victim is not None, victim
        if self._count < self._limits.total:
            return True, None
        for other in sorted(self._open, key=lambda name: -len(self._open[name])):
            victim = self._oldest_waiting(other)
            if victim is not None:
                return True, victim
        return False, None

    def add(self, connection: C) -> None:
        self._open.setdefault(connection.peer, {})[connection] = None
        self._count += 1

    def remove(self, connection: C) -> None:
        """Forget a connection; one that was forgotten already is ignored."""
        opened = self._open.get(connection.peer, {})
        if connection in opened:
            del opened[connection]
            self._count -= 1
            if not opened:
                del self._open[connection.peer]

    def _oldest_waiting(self, peer: str) -> C | None:
        return next((item for item in self._open.get(peer, ()) if item.waits), None)
