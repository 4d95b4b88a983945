"""The org's openings as addresses: a NetworkPolicy knows no names."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from datetime import timedelta

from guildnet_operator.manifests.network_policy import is_allowed_address

RESOLVE_TIMEOUT = timedelta(seconds=5)


class Resolver:
    """Resolves names, and remembers each answer for `keep`.

    A name that cannot be resolved now keeps its last addresses; one that never could opens
    nothing.
    """

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep.total_seconds()
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    async def resolve(self, openings: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
        """(address, port) for each opening, sorted, link-local and the like left out."""
        wanted = list(openings)
        found = await asyncio.gather(*(self._addresses(host) for host, _ in wanted))
        pairs = {
            (address, port)
            for (_, port), addresses in zip(wanted, found, strict=True)
            for address in addresses
            if is_allowed_address(address)
        }
        return tuple(sorted(pairs))

    async def _addresses(self, host: str) -> tuple[str, ...]:
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        loop = asyncio.get_running_loop()
        at, addresses = self._known.get(host, (None, ()))
        if at is not None and loop.time() - at < self._keep:
            return addresses
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT.total_seconds()):
                answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            return addresses
        addresses = tuple(sorted({str(answer[4][0]).partition("%")[0] for answer in answers}))
        self._known[host] = (loop.time(), addresses)
        return addresses
