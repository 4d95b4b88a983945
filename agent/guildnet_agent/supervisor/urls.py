"""Contexts of kind url: one GET, bounded, and no further than the URL's own kind of place.

A redirect is followed like the URL itself, but never from https to http, and never to an address
that only this pod or its node can reach: there are keys of the machine at such places.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
from collections.abc import Mapping
from typing import Any

import httpx

from guildnet.redact import strip_urls
from guildnet.units import parse_quantity

MAX_REDIRECTS = 5
_DEFAULT_BYTES = 1024 * 1024
_SECONDS = 120


class UrlFailed(Exception):
    """A URL cannot be had; ``infrastructure`` when trying again later may help."""

    def __init__(self, message: str, *, infrastructure: bool = False) -> None:
        super().__init__(message)
        self.infrastructure = infrastructure


async def read_url(spec: Mapping[str, Any]) -> bytes:
    """The content of a context's ``url``: ``href``, ``maxBytes``, ``sha256``. UrlFailed."""
    href = str(spec["href"])
    limit = parse_quantity(spec["maxBytes"]) if "maxBytes" in spec else _DEFAULT_BYTES
    shown = strip_urls(href)
    try:
        async with asyncio.timeout(_SECONDS):
            data = await _download(href, limit)
    except (httpx.TransportError, TimeoutError) as error:
        message = f"{shown} cannot be read: {error or type(error).__name__}"
        raise UrlFailed(message, infrastructure=True) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UrlFailed(f"{shown}: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if spec.get("sha256", digest) != digest:
        raise UrlFailed(f"{shown} has SHA-256 {digest}, not the one asked for")
    return data


async def _download(href: str, limit: int) -> bytes:
    url = httpx.URL(href)
    # Asked for as it is: what is packed could unpack to any size in one piece.
    headers = {"Accept-Encoding": "identity"}
    async with httpx.AsyncClient(timeout=30, headers=headers) as client:
        for _ in range(MAX_REDIRECTS + 1):
            await _check_address(url, is_own=url.host == httpx.URL(href).host)
            async with client.stream("GET", url) as answer:
                if answer.next_request is None:
                    return await _read(answer, limit)
                target = answer.next_request.url
            if target.scheme != "https" and (target.scheme, url.scheme) != ("http", "http"):
                raise UrlFailed(f"{_shown(url)} leads to {_shown(target)}, which is less safe")
            url = target
    raise UrlFailed(f"{strip_urls(href)} leads on more than {MAX_REDIRECTS} times")


async def _read(answer: httpx.Response, limit: int) -> bytes:
    shown = _shown(answer.url)
    if answer.status_code != 200:
        may_change = answer.status_code >= 500 or answer.status_code == 429
        raise UrlFailed(f"{shown} answered {answer.status_code}", infrastructure=may_change)
    data = bytearray()
    async for piece in answer.aiter_bytes():
        data += piece
        if len(data) > limit:
            raise UrlFailed(f"{shown} is larger than {limit} bytes (raise url.maxBytes)")
    return bytes(data)


async def _check_address(url: httpx.URL, *, is_own: bool) -> None:
    """UrlFailed for a host at an address of the node's or the pod's own."""
    for address in await _addresses(url.host):
        if is_forbidden(address, is_own=is_own):
            raise UrlFailed(f"{_shown(url)} is at {address}, which a context may not be read from")


def is_forbidden(address: str, *, is_own: bool) -> bool:
    """Whether a context may not be read from an address; ``is_own``: the task itself names it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    found = mapped or parsed
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        return True
    return bool(found.is_loopback) and not is_own


async def _addresses(host: str) -> list[str]:
    """What a host's name stands for here; empty where that is not known, as behind a proxy."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


def _shown(url: httpx.URL) -> str:
    return strip_urls(str(url))
