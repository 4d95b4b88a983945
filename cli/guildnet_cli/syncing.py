"""`guildnet sync`: asks a running reconciler for a pass now, and can wait for it."""

from __future__ import annotations

import json
import re
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from guildnet_cli.output import Format, FormatOption, emit, examples, say

_PASSES = re.compile(r'^guildnet_passes_total\{(?:[^}]*,)?org="([^"]+)"[^}]*\} ([0-9.e+]+)$', re.M)
_MAX_ANSWER_BYTES = 32 * 1024 * 1024


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples("guildnet sync", "guildnet sync acme --wait --url http://127.0.0.1:8080")
    )(sync)


def sync(
    org: Annotated[
        str | None, typer.Argument(metavar="ORG", help="One org; all of them by default.")
    ] = None,
    *,
    url: Annotated[
        str,
        typer.Option(
            metavar="URL", envvar="GUILDNET_RECONCILER_URL", help="Where the reconciler listens."
        ),
    ] = "http://127.0.0.1:8080",
    wait: Annotated[bool, typer.Option("--wait", help="Return once the pass is made.")] = False,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait.")
    ] = 120,
    output: FormatOption = Format.TEXT,
) -> None:
    """Ask a running reconciler for a pass now."""
    from guildnet.errors import GuildNetError

    told = _ask(url, org)
    if wait and not _wait_for_passes(url, org, told.get("orgs", []), timeout):
        raise GuildNetError(
            f"no pass within {timeout:.0f} s",
            place=url,
            cure="See what holds it up with `guildnet status`.",
        )
    emit(told, output, lambda: "")
    orgs = ", ".join(map(str, told.get("orgs", []))) or "no org yet"
    say(f"{'done' if wait else 'queued'}: {orgs}")


def _ask(url: str, org: str | None) -> dict[str, Any]:
    """What the reconciler says to the request; GuildNetError when it refuses."""
    from guildnet.errors import GuildNetError

    code, text = _request(url, "POST", f"/sync/{quote(org, safe='')}" if org else "/sync")
    try:
        told = json.loads(text)
    except ValueError:
        told = {}
    if code >= 400 or not isinstance(told, dict):
        message = told.get("message") if isinstance(told, dict) else None
        raise GuildNetError(
            f"HTTP {code}: {message or text[:200] or 'refused'}",
            place=url,
            cure="Check the org's name, and the reconciler's log.",
        )
    return told


def _request(url: str, method: str, path: str) -> tuple[int, str]:
    """Status and body of one answer; ConfigurationError where there is none."""
    import http.client
    from contextlib import closing
    from urllib.parse import urlsplit

    from guildnet.errors import ConfigurationError

    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it is no http(s) address")
        https = parts.scheme == "https"
        connect = http.client.HTTPSConnection if https else http.client.HTTPConnection
        with closing(connect(parts.hostname, parts.port, timeout=10)) as connection:
            connection.request(method, parts.path.rstrip("/") + path)
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_ANSWER_BYTES).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ConfigurationError(
            f"the reconciler gives no answer: {error}",
            place=url,
            cure="Start it with `guildnet reconciler`, or name its address with --url.",
        ) from error


def _wait_for_passes(url: str, org: str | None, orgs: list[str], timeout: float) -> bool:
    """Whether each org has made a whole pass since now.

    The first pass to end may have begun before; asked again, the next one has not.
    """
    deadline = time.monotonic() + timeout
    for _ in range(2):
        before = _passes(url)
        _ask(url, org)
        while any(now <= before.get(name, 0) for name, now in _counts(url, orgs).items()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    return True


def _counts(url: str, orgs: list[str]) -> dict[str, float]:
    counted = _passes(url)
    return {name: counted.get(name, 0) for name in orgs}


def _passes(url: str) -> dict[str, float]:
    """Passes made so far, by org."""
    made: dict[str, float] = {}
    for org, number in _PASSES.findall(_request(url, "GET", "/metrics")[1]):
        made[org] = made.get(org, 0) + float(number)
    return made
