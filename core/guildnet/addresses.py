"""IP addresses that lead to a machine itself or to its cloud: tasks may not connect to them.

Pure: addresses in, answers out. Callers resolve names, and must connect to the same address that
they checked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address

#: Metadata and host services of clouds that are not link-local: AWS and Google over IPv6, Alibaba,
#: Oracle, Azure.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_OF_A_CLOUD = "a cloud's metadata service"
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST = IPv4("255.255.255.255")
#: IPv6 networks whose last 32 bits are an IPv4 address: IPv4-compatible and IPv4-mapped (RFC 4291),
#: IPv4-translated (RFC 2765), NAT64's well-known prefix (RFC 6052).
_ENDS_WITH_IPV4 = tuple(
    map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
)
#: NAT64's prefix for local use (RFC 8215). A network may use any prefix of RFC 6052 within it.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
#: Interface identifiers of ISATAP (RFC 5214), without the bit for "globally unique".
_ISATAP = 0x00005EFE


def forbidden_scope(address: str) -> str | None:
    """Why a task may not connect to an address, such as `loopback`; None when it may.

    Refused are loopback, link-local, multicast, unspecified, broadcast and the metadata addresses
    of clouds, also where an IPv6 address embeds such an IPv4 address. An IPv6 zone (``%eth0``) is
    ignored. Raises ValueError for text that is not an IP address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    scope = _scope(parsed)
    if scope is not None or isinstance(parsed, IPv4):
        return scope
    for inner in _embedded(parsed):
        scope = _scope(inner)
        if scope is not None:
            return f"{scope} ({inner})"
    return None


def is_forbidden(address: str) -> bool:
    """Whether a task may not connect to an address. Raises ValueError as `forbidden_scope`."""
    return forbidden_scope(address) is not None


def dns_server_problem(address: str, port: int) -> str | None:
    """Why agents may not use a DNS server at this address and port; None when they may.

    Clouds and NodeLocal DNSCache serve DNS at link-local and metadata addresses. Port 53 of such
    an address is allowed, because nothing else is served there. Raises ValueError as
    `forbidden_scope`.
    """
    scope = forbidden_scope(address)
    if scope is None or (scope in ("link-local", _OF_A_CLOUD) and port == 53):
        return None
    return f"{address}:{port} is {scope}"


def is_loopback(address: str) -> bool:
    """Whether an address is a loopback address, also one embedded in IPv6.

    Raises ValueError as `forbidden_scope`.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    inner = _embedded(parsed) if isinstance(parsed, IPv6) else iter(())
    return parsed.is_loopback or any(found.is_loopback for found in inner)


def _scope(address: IPv4 | IPv6) -> str | None:
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address in _METADATA:
        return _OF_A_CLOUD
    if address.is_multicast or address == _BROADCAST:
        return "multicast"
    if address.is_unspecified or (isinstance(address, IPv4) and address in _THIS_NETWORK):
        return "unspecified"
    return None


def _embedded(address: IPv6) -> Iterator[IPv4]:
    """The IPv4 addresses that an IPv6 address may be delivered to."""
    number = int(address)
    if any(address in network for network in _ENDS_WITH_IPV4):
        yield IPv4(number & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:
        yield from _local_nat64(number)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if (number >> 32) & 0xFFFFFFFF & ~0x02000000 == _ISATAP:
        yield IPv4(number & 0xFFFFFFFF)


def _local_nat64(number: int) -> Iterator[IPv4]:
    """The IPv4 addresses under RFC 6052, section 2.2, for prefixes of 48, 56, 64 and 96 bits.

    The prefix length is not known. A wrong one gives mostly zeros, so 0.0.0.0/8 is returned only
    if every length gives it.
    """
    low = number & ((1 << 80) - 1)  # what follows the 48 bits
    bytes_ = low.to_bytes(10)
    readings = (
        bytes_[0:2] + bytes_[3:5],
        bytes_[1:2] + bytes_[3:6],
        bytes_[3:7],
        bytes_[6:10],
    )
    found = [IPv4(reading) for reading in readings]
    yield from [one for one in found if one not in _THIS_NETWORK] or found
