"""URLs and `host:port` as people write them: which can be used, and what they mean. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\.?")
_NETLOC = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(:[0-9]*)?")
_MAX_PORT = 65535
_NUMERIC = re.compile(r"[0-9.]+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def parse_host_port(text: str) -> tuple[str, int] | None:
    """(host, port) of `host:port` or `[address]:port`; None for any other text.

    The port is 0 to 65535, in ASCII digits. A host keeps neither brackets nor surrounding space.
    """
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None  # an IPv6 address without brackets: its last group is not a port
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= _MAX_PORT
    return (host, int(port)) if host and colon and is_port else None


def url_fault(url: str) -> str | None:
    """Why the URL cannot be used; None for a usable one.

    Libraries accept different URLs and reject them at different times, so only URLs that all of
    them parse alike are usable: a host of ASCII letters or an address, a port from 1 to 65535.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        return str(error)
    if parts.username is not None or parts.password is not None:
        return "it contains user information"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "write it in ASCII: xn-- names for hosts, %-escapes for the rest"
    if _BAD_ESCAPE.search(url) or "%" in parts.netloc:
        return "a % that does not start an escape, or is in the host"
    if port == 0:
        return "port 0"
    return _host_fault(parts.netloc, host)


def _host_fault(netloc: str, host: str) -> str | None:
    if not _NETLOC.fullmatch(netloc):
        return f"{netloc[:60]!r} is not HOST or HOST:PORT"
    is_bracketed = netloc.startswith("[")
    if is_bracketed or _NUMERIC.fullmatch(host):
        try:
            ipaddress.IPv6Address(host) if is_bracketed else ipaddress.IPv4Address(host)
        except ValueError:
            return f"{host[:60]!r} is not an IP address"
        return None
    labels = host.removesuffix(".").split(".")
    if not _HOST.fullmatch(host) or any(not 0 < len(label) <= 63 for label in labels):
        return f"{host[:60]!r} is not a host name"
    return None
