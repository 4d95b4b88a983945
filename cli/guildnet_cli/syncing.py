"""`guildnet sync`: asks a running reconciler for a pass now, and can wait for it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
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
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The reconciler's token; by default the state folder's."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return once the pass is made.")] = False,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait.")
    ] = 120,
    output: FormatOption = Format.TEXT,
) -> None:
    """Ask a running reconciler for a pass now."""
    from guildnet.errors import GuildNetError

    reconciler = _Reconciler(url, _token(token_file))
    told = reconciler.ask(org)
    if wait and not reconciler.wait_for_passes(org, told.get("orgs", []), timeout):
        raise GuildNetError(
            f"no pass within {timeout:.0f} s",
            place=url,
            cure="See what holds it up with `guildnet status`.",
        )
    emit(told, output, lambda: "")
    orgs = ", ".join(map(str, told.get("orgs", []))) or "no org yet"
    say(f"{'done' if wait else 'queued'}: {orgs}")


def _token(file: Path | None) -> str | None:
    """The token to give; None where no reconciler has made one in this state folder."""
    from guildnet.state_folder import state_folder
    from guildnet.tokens import read_token

    if file is not None:
        return read_token(file)
    made = state_folder() / "reconciler-token"
    return read_token(made) if made.exists() else None


class _Reconciler:
    """The reconciler's HTTP port."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, org: str | None) -> dict[str, Any]:
        """The reconciler's answer to the request for a pass; GuildNetError when it refuses."""
        from guildnet.errors import GuildNetError

        code, text = self._request("POST", f"/sync/{quote(org, safe='')}" if org else "/sync")
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = {}
        if code >= 400 or not isinstance(told, dict):
            message = told.get("message") if isinstance(told, dict) else None
            raise GuildNetError(
                f"HTTP {code}: {message or text[:200] or 'refused'}",
                place=self._url,
                cure=_cure(code),
            )
        return told

    def wait_for_passes(self, org: str | None, orgs: list[str], timeout: float) -> bool:
        """Whether each org has made a whole pass since now.

        The first pass to end may have begun before; asked again, the next one has not.
        """
        deadline = time.monotonic() + timeout
        for _ in range(2):
            before = self._passes()
            self.ask(org)
            while any(now <= before.get(name, 0) for name, now in self._counts(orgs).items()):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.1)
        return True

    def _counts(self, orgs: list[str]) -> dict[str, float]:
        counted = self._passes()
        return {name: counted.get(name, 0) for name in orgs}

    def _passes(self) -> dict[str, float]:
        """Passes made so far, by org."""
        made: dict[str, float] = {}
        for org, number in _PASSES.findall(self._request("GET", "/metrics")[1]):
            made[org] = made.get(org, 0) + float(number)
        return made

    def _request(self, method: str, path: str) -> tuple[int, str]:
        """Status and body of one answer; ConfigurationError where there is none."""
        import http.client
        from contextlib import closing
        from urllib.parse import urlsplit

        from guildnet.errors import ConfigurationError

        try:
            parts = urlsplit(self._url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("it is not an http(s) address")
            https = parts.scheme == "https"
            connect = http.client.HTTPSConnection if https else http.client.HTTPConnection
            with closing(connect(parts.hostname, parts.port, timeout=10)) as connection:
                connection.request(method, parts.path.rstrip("/") + path, headers=self._headers)
                answer = connection.getresponse()
                return answer.status, answer.read(_MAX_ANSWER_BYTES).decode(errors="replace")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ConfigurationError(
                f"the reconciler gives no answer: {error}",
                place=self._url,
                cure="Start it with `guildnet reconciler`, or name its address with --url.",
            ) from error


def _cure(code: int) -> str:
    if code == 401:
        return (
            "Run it with the reconciler's GUILDNET_STATE_DIR, "
            "or name the reconciler's token with --token-file."
        )
    return "Check the org's name, and the reconciler's log."
