"""For which URLs a git Secret may be used: its annotation ``guildnet.io/hosts``. Pure.

An entry is ``host`` or ``host:port``, for https and ssh. A token over plain http can be read by
whoever forwards it, so http needs an entry of its own, ``http://host`` or ``http://host:port``;
only the machine's own loopback goes without.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from guildnet.addresses import is_loopback

_DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22}


def host_of(url: str) -> str:
    """``host`` or ``host:port`` of a URL, lower case, without the scheme's own port.

    ValueError for a URL that has no host, or a port that is not one.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if not host:
        raise ValueError("the URL has no host")
    port = parts.port
    shown = f"[{host}]" if ":" in host else host
    return shown if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{shown}:{port}"


def entry_for(url: str) -> str:
    """The entry that allows a URL. ValueError as `host_of`."""
    plain = "http://" if urlsplit(url).scheme == "http" else ""
    return plain + host_of(url)


def is_allowed_url(url: str, entries: Iterable[str]) -> bool:
    """Whether a Secret with these entries may be used for a URL; False for what is not a URL."""
    try:
        parts, host = urlsplit(url), host_of(url)
    except ValueError:
        return False
    for entry in entries:
        scheme, found, name = entry.strip().lower().rpartition("://")
        if found and scheme not in ("http", "https"):
            continue
        if parts.scheme == "http" and scheme != "http" and not _is_loopback(parts):
            continue
        try:
            if host_of(f"{parts.scheme}://{name}") == host:
                return True
        except ValueError:
            continue
    return False


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return host == "localhost" or is_loopback(host)
    except ValueError:
        return False
