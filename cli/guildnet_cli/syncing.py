"""`guildnet sync`: asks a running reconciler for a pass now, and can wait for it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guildnet_cli.output import Format, FormatOption, emit, examples, say

if TYPE_CHECKING:
    import httpx

_PASSES = re.compile(r'^guildnet_passes_total\{(?:[^}]*,)?org="([^"]+)"[^}]*\} ([0-9.e+]+)$', re.M)


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples("guildnet sync", "guildnet sync acme --wait --url http://127.0.0.1:8080")
    )(sync)


def sync(
    org: Annotated[
        str | None, typer.Argument(metavar="[ORG]", help="One org; all of them by default.")
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
    import httpx

    from guildnet.errors import ConfigurationError, GuildNetError

    try:
        with httpx.Client(base_url=url, timeout=10) as client:
            told = _ask(client, org)
            if wait and not _wait_for_passes(client, org, told.get("orgs", []), timeout):
                raise GuildNetError(
                    f"no pass within {timeout:.0f} s",
                    place=url,
                    cure="See what holds it up with `guildnet status`.",
                )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigurationError(
            f"the reconciler gives no answer: {error}",
            place=url,
            cure="Start it with `guildnet reconciler`, or name its address with --url.",
        ) from error
    emit(told, output, lambda: "")
    say("done" if wait else "queued")


def _ask(client: httpx.Client, org: str | None) -> dict[str, Any]:
    """What the reconciler says to the request; GuildNetError when it refuses."""
    from guildnet.errors import GuildNetError

    answer = client.post(f"/sync/{org}" if org else "/sync")
    try:
        told = answer.json()
    except ValueError:
        told = {}
    if answer.status_code >= 400 or not isinstance(told, dict):
        message = told.get("message") if isinstance(told, dict) else None
        raise GuildNetError(
            f"HTTP {answer.status_code}: {message or answer.text[:200] or 'refused'}",
            place=str(client.base_url),
            cure="Check the org's name, and the reconciler's log.",
        )
    return told


def _wait_for_passes(
    client: httpx.Client, org: str | None, orgs: list[str], timeout: float
) -> bool:
    """Whether each org has made a whole pass since now.

    The first pass to end may have begun before; asked again, the next one has not.
    """
    deadline = time.monotonic() + timeout
    for _ in range(2):
        before = _passes(client)
        _ask(client, org)
        while any(now <= before.get(name, 0) for name, now in _counts(client, orgs).items()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    return True


def _counts(client: httpx.Client, orgs: list[str]) -> dict[str, float]:
    counted = _passes(client)
    return {name: counted.get(name, 0) for name in orgs}


def _passes(client: httpx.Client) -> dict[str, float]:
    """Passes made so far, by org."""
    made: dict[str, float] = {}
    for org, number in _PASSES.findall(client.get("/metrics").text):
        made[org] = made.get(org, 0) + float(number)
    return made
