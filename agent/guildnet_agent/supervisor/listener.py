"""Listens on the agent API's port, and limits the connections of each peer.

The command shares the pod's addresses. It cannot sign requests or read answers, but without a
limit it could open every connection and lock the operator out.
"""

from __future__ import annotations

import ipaddress
import socket

from guildnet.errors import ConfigurationError
from guildnet.serving import Limits, peer_address

MAX_CONNECTIONS = 64
MAX_FROM_WITHIN = 16
"""For a person who debugs in the pod; no other client connects from within."""

_Address = tuple[str, int | None]  # host and port; a Unix socket has no port


def listen(address: str, port: int) -> socket.socket:
    """Return the listening socket. ConfigurationError if the port is in use."""
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
            cure="stop the process that uses this port: in the agent's pod it is the supervisor's",
        ) from error


def is_from_within(peer: _Address | None, own: _Address | None) -> bool:
    """Whether a connection comes from the pod itself, through any of its addresses."""
    if peer is None or own is None:
        return True
    hosts = [_parse(host) for host in (peer[0], own[0])]
    return hosts[0] == hosts[1] or any(host.is_loopback for host in hosts)


def _parse(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; an IPv4-mapped IPv6 address as IPv4."""
    found = ipaddress.ip_address(host.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def peer_of(peer: str, own: str) -> str:
    """The peer that a connection counts for: all addresses of the pod itself are one peer."""
    return (
        "the pod itself" if is_from_within((peer, None), (own, None)) else peer_address(peer, own)
    )


LIMITS = Limits(total=MAX_CONNECTIONS, per_peer=MAX_FROM_WITHIN, peer=peer_of)
