"""Contexts of kind url: downloads a file, bounded in size, never from an address of the node.

A name is resolved once, its addresses are checked, and the connection goes to a checked address. A
redirect is checked like the URL itself, and never followed from https to http. If the environment
names a proxy for the URL, the proxy resolves the name and connects; then only an address in the
URL itself can be checked here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from guildnet.addresses import forbidden_scope
from guildnet.redact import strip_urls
from guildnet.units import parse_quantity
from guildnet_agent.exchange import open_new

MAX_REDIRECTS = 5
#: The upper limit for ``maxBytes``: contexts share the agent's disk.
MAX_BYTES = 1024**3
_DEFAULT_BYTES = 1024 * 1024
_SECONDS = 600
_READ_SECONDS = 30
_RESOLVE_SECONDS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


class UrlFailed(Exception):
    """A URL cannot be read; ``infrastructure``: a later try may succeed."""

    def __init__(self, message: str, *, infrastructure: bool = False) -> None:
        super().__init__(message)
        self.infrastructure = infrastructure


async def look_up(host: str) -> list[str]:
    """Resolve a host, in order of preference. Raises OSError, UnicodeError, TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_RESOLVE_SECONDS):
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def proxy_of(url: httpx.URL) -> str | None:
    """The proxy for a URL, from the environment."""
    if urllib.request.proxy_bypass_environment(url.host):  # type: ignore[attr-defined]
        return None
    proxies = urllib.request.getproxies_environment()
    return proxies.get(url.scheme) or proxies.get("all")


@dataclass(frozen=True)
class Network:
    """How URLs are reached: name resolution, proxies, and the transport."""

    look_up: Callable[[str], Awaitable[list[str]]] = look_up
    proxy_of: Callable[[httpx.URL], str | None] = proxy_of
    transport: httpx.AsyncBaseTransport | None = field(default=None, repr=False)


@dataclass(frozen=True)
class UrlSpec:
    """A context's ``url``. ``authorities`` (PEM) are trusted in addition to the system's."""

    href: str
    max_bytes: int = _DEFAULT_BYTES
    sha256: str | None = None
    authorities: str | None = None

    @classmethod
    def parse(cls, spec: Mapping[str, Any], authorities: str | None) -> UrlSpec:
        """Raises UrlFailed if ``maxBytes`` is invalid or above MAX_BYTES."""
        try:
            limit = parse_quantity(spec["maxBytes"]) if "maxBytes" in spec else _DEFAULT_BYTES
        except (ValueError, OverflowError) as error:
            raise UrlFailed(f"url.maxBytes: {error}") from error
        if limit > MAX_BYTES:
            raise UrlFailed(f"url.maxBytes is {limit}; the maximum is {MAX_BYTES} (1Gi)")
        return cls(str(spec["href"]), limit, spec.get("sha256"), authorities)


async def read_url(spec: UrlSpec, target: Path, network: Network | None = None) -> None:
    """Download a URL to a file, which appears only once it is complete. UrlFailed."""
    shown = strip_urls(spec.href)
    try:
        async with asyncio.timeout(_SECONDS):
            await _download(spec, target, network or Network())
    except UrlFailed:
        raise
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise UrlFailed(f"{shown}: {error}") from error
    except (ValueError, OverflowError, ImportError) as error:
        # Invalid ports, hosts and proxies that only the lowest library detects.
        raise UrlFailed(f"{shown} cannot be requested: {strip_urls(str(error))}") from error
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        message = strip_urls(str(error)) or type(error).__name__
        raise UrlFailed(f"{shown} cannot be read: {message}", infrastructure=True) from error


async def _download(spec: UrlSpec, target: Path, network: Network) -> None:
    url = httpx.URL(spec.href)
    for _ in range(MAX_REDIRECTS + 1):
        if url.scheme not in ("http", "https") or not url.host:
            raise UrlFailed(f"{_shown(url)} is not an http or https URL")
        if url.port is not None and not 0 < url.port < 65536:
            raise UrlFailed(f"{_shown(url)} has an invalid port")
        async with _get(url, spec, network) as answer:
            location = answer.headers.get("location")
            if answer.status_code not in _REDIRECTS or location is None:
                return await _write(url, answer, spec, target)
        following = url.join(location)
        if following.scheme != "https" and (following.scheme, url.scheme) != ("http", "http"):
            raise UrlFailed(
                f"{_shown(url)} redirects to {_shown(following)}, which is not encrypted"
            )
        url = following
    raise UrlFailed(f"{strip_urls(spec.href)} redirects more than {MAX_REDIRECTS} times")


@asynccontextmanager
async def _get(url: httpx.URL, spec: UrlSpec, network: Network) -> AsyncIterator[httpx.Response]:
    """Send one GET to a checked address, or through the proxy; the body is not read yet."""
    proxy = network.proxy_of(url)
    client = httpx.AsyncClient(
        timeout=_READ_SECONDS,
        # No compression: a compressed piece could unpack to any size.
        headers={"Accept-Encoding": "identity", "User-Agent": "guildnet"},
        verify=_trust(spec.authorities),
        proxy=proxy,
        transport=network.transport,
        trust_env=False,
    )
    async with client:
        if proxy is not None:
            _check_literal(url)
            answer = await client.send(client.build_request("GET", url), stream=True)
        else:
            answer = await _send_directly(client, url, await _addresses(url, network))
        try:
            yield answer
        finally:
            await answer.aclose()


async def _send_directly(
    client: httpx.AsyncClient, url: httpx.URL, addresses: list[str]
) -> httpx.Response:
    """The answer of the first address that accepts a connection. Host header and certificate are
    those of the URL."""
    failure: httpx.TransportError | None = None
    for address in addresses:
        request = client.build_request(
            "GET",
            url.copy_with(host=address),
            headers={"Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii").strip("[]")},
        )
        try:
            return await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure = error
    assert failure is not None
    raise failure


async def _addresses(url: httpx.URL, network: Network) -> list[str]:
    """Resolve the URL's host. UrlFailed if that fails, or if an address is forbidden."""
    try:
        found = await network.look_up(url.host)
    except (OSError, UnicodeError, TimeoutError) as error:
        message = f"{_shown(url)}: its host cannot be resolved: {error or type(error).__name__}"
        raise UrlFailed(message, infrastructure=True) from error
    if not found:
        raise UrlFailed(f"{_shown(url)}: its host has no address", infrastructure=True)
    for address in found:
        _check_address(url, address)
    return found


def _check_literal(url: httpx.URL) -> None:
    """Check a host that is an address in any notation that a proxy may accept."""
    try:
        found = socket.getaddrinfo(url.host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        if url.host.rstrip(".").lower().rpartition(".")[2] == "localhost":
            raise UrlFailed(_refusal(url, url.host, "loopback")) from None
        return
    for entry in found:
        _check_address(url, str(entry[4][0]))


def _check_address(url: httpx.URL, address: str) -> None:
    scope = forbidden_scope(address)
    if scope is not None:
        raise UrlFailed(_refusal(url, address, scope))


def _refusal(url: httpx.URL, address: str, scope: str) -> str:
    return f"{_shown(url)} is at {address} ({scope}), which is not allowed for a context"


async def _write(url: httpx.URL, answer: httpx.Response, spec: UrlSpec, target: Path) -> None:
    """Write the body to the file in pieces."""
    shown = _shown(url)
    if answer.status_code != 200:
        may_change = answer.status_code >= 500 or answer.status_code in (408, 425, 429)
        raise UrlFailed(f"{shown} answered {answer.status_code}", infrastructure=may_change)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    digest, size = hashlib.sha256(), 0
    try:
        with await asyncio.to_thread(_open, temporary) as file:
            async for piece in answer.aiter_bytes():
                size += len(piece)
                if size > spec.max_bytes:
                    raise UrlFailed(
                        f"{shown} is larger than {spec.max_bytes} bytes; raise url.maxBytes"
                    )
                digest.update(piece)
                await asyncio.to_thread(file.write, piece)
        if spec.sha256 is not None and spec.sha256 != digest.hexdigest():
            raise UrlFailed(f"{shown} has SHA-256 {digest.hexdigest()}, not url.sha256")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _open(path: Path) -> BinaryIO:
    return open(open_new(path), "wb")


@cache
def _trust(authorities: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authorities is not None:
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError) as error:
            raise UrlFailed("ca.crt of a git Secret does not contain certificates (PEM)") from error
    return context


def _shown(url: httpx.URL) -> str:
    return strip_urls(str(url))
