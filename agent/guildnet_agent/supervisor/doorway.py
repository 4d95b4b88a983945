"""The agent API's port: taken by nobody else, and not to be stuffed from within the pod.

The command shares the pod's addresses with us. It can neither sign nor read, but it could hold
every connection there is, and so keep the operator out.
"""

from __future__ import annotations

import ipaddress
import socket
from asyncio import Transport

from uvicorn.protocols.http.h11_impl import H11Protocol

from guildnet.errors import ConfigurationError

MAX_CONNECTIONS = 64
MAX_FROM_WITHIN = 16
"""Nobody who has a right to ask comes from within: this is for people who look for a fault."""

_Address = tuple[str, int | None]  # host and port; a socket of the file system has none


def listen(address: str, port: int) -> socket.socket:
    """The listening socket. ConfigurationError where the port is taken."""
    try:
        if ":" not in address:
            return socket.create_server((address, port), backlog=128)
        return socket.create_server(
            (address, port),
            family=socket.AF_INET6,
            backlog=128,
            dualstack_ipv6=socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen: {error.strerror}",
            place=f"{address}:{port}",
            cure="end what listens there: in the agent's pod this port is the supervisor's",
        ) from error


def is_from_within(peer: _Address | None, own: _Address | None) -> bool:
    """Whether a connection comes from the pod itself, by whichever of its addresses."""
    if peer is None or own is None:
        return True
    hosts = [_parse(host) for host in (peer[0], own[0])]
    return hosts[0] == hosts[1] or any(host.is_loopback for host in hosts)


def _parse(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; one of IPv4 also where a socket of IPv6 tells of it."""
    found = ipaddress.ip_address(host.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


class GuardedProtocol(H11Protocol):
    """HTTP that hangs up on the pod's own connections beyond `MAX_FROM_WITHIN`."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if is_from_within(self.client, self.server):
            ours = [item for item in self.connections if isinstance(item, GuardedProtocol)]
            if sum(is_from_within(item.client, item.server) for item in ours) > MAX_FROM_WITHIN:
                transport.abort()
