"""Choose the proxy for a server from HTTPS_PROXY, HTTP_PROXY and NO_PROXY, with the rules of Go's
net/http, which kubectl uses. Pure, except for reading the environment."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.urls import parse_host_port

HTTP = ("http", "https")
SOCKS = ("socks5", "socks5h")
"""The proxy resolves names with either, as in Go's net/http."""


def environment_proxy(server: str, schemes: Sequence[str] = HTTP) -> str | None:
    """The URL of the proxy for `server`; None for a direct connection. `schemes` are those that the
    caller's client speaks.

    Raises ConfigurationError for an invalid or unsupported proxy URL.
    """
    parts = urlsplit(server)
    name = f"{parts.scheme.upper()}_PROXY"
    value = _variable(name)
    host = parts.hostname
    if not value or not host or is_direct(host, _port(server), _variable("NO_PROXY")):
        return None
    return checked_proxy(value if "://" in value else f"http://{value}", name, schemes)


def checked_proxy(url: str, place: str, schemes: Sequence[str] = HTTP) -> str:
    """Return `url` if it is a supported proxy URL; the ConfigurationError shows no credentials."""
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole, parts = False, urlsplit("")
    scheme = parts.scheme if parts.scheme.isalnum() else ""
    if scheme and scheme not in schemes:
        raise ConfigurationError(
            f"a {scheme} proxy is not supported",
            place=place,
            cure="use an http:// or https:// proxy, or remove the setting",
        )
    if not is_whole or not scheme or any(char.isspace() or ord(char) < 32 for char in url):
        raise ConfigurationError(
            "the proxy URL is invalid",
            place=place,
            cure="write a URL such as http://proxy.example:3128",
        )
    return url


def is_direct(host: str, port: int, no_proxy: str) -> bool:
    """Whether `host` needs no proxy, because it is loopback or listed in NO_PROXY."""
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_covers(entry.strip(), host, port, address) for entry in no_proxy.split(","))


def _covers(
    entry: str,
    host: str,
    port: int,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None,
) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
        return address is not None and address.version == network.version and address in network
    name, wanted_port = _split(entry.lower())
    if not name or (wanted_port and wanted_port != port):
        return False
    if address is not None:
        return _address(name) == address
    if name.startswith("*."):
        name = name[1:]
    below = name if name.startswith(".") else f".{name}"
    return host.lower().endswith(below) or host.lower() == name


def _split(entry: str) -> tuple[str, int]:
    """The host and port (0: any port) of an entry of NO_PROXY."""
    if _address(entry.strip("[]")) is not None:
        return entry.strip("[]"), 0
    return parse_host_port(entry) or (entry, 0)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _port(server: str) -> int:
    parts = urlsplit(server)
    return parts.port or (80 if parts.scheme == "http" else 443)


def _variable(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.lower()) or ""
