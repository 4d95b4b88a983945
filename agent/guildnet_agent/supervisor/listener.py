"""The agent API's port, and how many of its connections each peer may hold.

The command shares the pod's addresses with us. It can neither sign nor read, but it could hold
every connection there is, and so keep the operator out.
"""

from __future__ import annotations

import ipaddress
import socket

from guildnet.errors import ConfigurationError
from guildnet.serving import Limits, peer_address

MAX_CONNECTIONS = 64
MAX_FROM_WITHIN = 16
"""No legitimate client connects from within: this is for people who look for a fault."""

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


def peer_of(peer: str, own: str) -> str:
    """The name that a connection counts under: all of the pod's own addresses are one peer."""
    return (
        "the pod itself" if is_from_within((peer, None), (own, None)) else peer_address(peer, own)
    )


LIMITS = Limits(total=MAX_CONNECTIONS, per_peer=MAX_FROM_WITHIN, peer=peer_of)
