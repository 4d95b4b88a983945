"""Which Secret may be used for which host. Pure.

The owner of a git or model Secret lists the hosts it is for in the annotation
``guildnet.io/hosts``, as ``host`` or ``host:port``. An entry allows https and ssh. Over plain http
everybody on the way can read a token, so http needs its own entry, ``http://host`` or
``http://host:port``; only loopback addresses need none.

The operator checks a task with `refusal` before it makes a pod, the supervisor again before it
uses a Secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from guildnet.addresses import is_loopback
from guildnet.labels import HOSTS

_DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a Secret is not used. `reason` is that of condition Accepted."""

    reason: Literal["InvalidSpec", "PolicyDenied"]
    message: str
    cure: str


def refusal(
    org: str, secret: str, url: str, entries: Iterable[str], *, use: str = "git"
) -> Refusal | None:
    """Why the Secret of an org, with these entries, may not be used for a URL; None if it may.

    The message shows no part of a URL that cannot be parsed: it might hold a password (I8).
    """
    unreadable = url_refusal(url)
    if unreadable is not None:
        return unreadable
    hosts = tuple(entries)
    if is_allowed_url(url, hosts):
        return None
    entry = entry_for(url)
    options = "".join(f" --host {host}" for host in (*hosts, entry))
    return Refusal(
        "PolicyDenied",
        f"Secret {secret} may not be used for {entry} (its hosts: {', '.join(hosts) or 'none'})",
        f"add {entry} to its annotation {HOSTS}: "
        f"guildnet secret set {org} {secret} --use {use}{options}",
    )


def url_refusal(url: str) -> Refusal | None:
    """Why no Secret can be used for this URL: its host or port cannot be read."""
    try:
        host_of(url)
    except ValueError as error:
        return Refusal(
            "InvalidSpec",
            f"this URL cannot be read: {error}",
            "write scheme, host and path, such as https://git.example/acme/web.git",
        )
    return None


def host_of(url: str) -> str:
    """``host`` or ``host:port`` of a URL, lower case, without the scheme's own port.

    Raises ValueError for a missing host or an invalid port.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        # The library's own text may quote the URL, and with it a password.
        raise ValueError("its host or port is invalid") from None
    if not host:
        raise ValueError("it has no host")
    shown = f"[{host}]" if ":" in host else host
    return shown if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{shown}:{port}"


def entry_for(url: str) -> str:
    """The entry that allows a URL. Raises ValueError as `host_of` does."""
    host = host_of(url)
    return f"http://{host}" if urlsplit(url).scheme == "http" else host


def is_allowed_url(url: str, entries: Iterable[str]) -> bool:
    """Whether a Secret with these entries may be used for a URL; False for an invalid URL."""
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
