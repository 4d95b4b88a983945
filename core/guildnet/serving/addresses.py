"""Addresses to listen on, and names that only mean this machine. Pure."""

from __future__ import annotations

import ipaddress

from guildnet.errors import ConfigurationError
from guildnet.urls import parse_host_port


def parse_listen(listen: str, setting: str = "--listen") -> tuple[str, int]:
    """`127.0.0.1:8443` or `[::1]:8443` as (host, port).

    Raises ConfigurationError, which names the `setting` that holds the address.
    """
    parsed = parse_host_port(listen)
    if parsed is None:
        raise ConfigurationError(
            "not an address and a port",
            place=f"{setting} {listen}",
            cure="Give it as 127.0.0.1:8443.",
        )
    return parsed


def host_name(host: str) -> str:
    """The name in a Host header, without its port and an address's brackets."""
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]


def is_local_name(name: str) -> bool:
    """Whether a host's name or address means this machine and nothing else: one to trust."""
    name = name.casefold()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
