"""`guildnet sync`: request a pass from a running reconciler, and wait for it with --wait."""

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
        str | None, typer.Argument(metavar="ORG", help="Only this org. Default: all.")
    ] = None,
    *,
    url: Annotated[
        str,
        typer.Option(
            metavar="URL", envvar="GUILDNET_RECONCILER_URL", help="The reconciler's address."
        ),
    ] = "http://127.0.0.1:8080",
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The reconciler's token. Default: the one in the state directory."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the pass is done.")] = False,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long --wait waits.")
    ] = 120,
    output: FormatOption = Format.TEXT,
) -> None:
    """Ask a running reconciler to sync now.

    Without it, the reconciler syncs at the next webhook or poll.
    """
    from guildnet.errors import GuildNetError

    reconciler = _Reconciler(url, _token(token_file))
    answer = reconciler.request_pass(org)
    orgs = answer.get("orgs", [])
    if wait and not reconciler.wait_for_passes(org, orgs, timeout):
        raise GuildNetError(
            f"no pass finished within {timeout:.0f} s",
            place=url,
            cure="Look for the cause with `guildnet status`.",
        )
    emit(answer, output, lambda: "")
    names = ", ".join(map(str, orgs)) or "no orgs"
    say(f"{'done' if wait else 'queued'}: {names}")


def _token(file: Path | None) -> str | None:
    """The token to send; None where no reconciler has created one in this state directory."""
    from guildnet.state_folder import state_folder
    from guildnet.tokens import read_token

    if file is not None:
        return read_token(file)
    stored = state_folder() / "reconciler-token"
    return read_token(stored) if stored.exists() else None


class _Reconciler:
    """A client of the reconciler's HTTP API."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def request_pass(self, org: str | None) -> dict[str, Any]:
        """Queue a pass; returns the reconciler's answer. Raises GuildNetError on refusal."""
        from guildnet.errors import GuildNetError

        code, text = self._request("POST", f"/sync/{quote(org, safe='')}" if org else "/sync")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = {}
        if code >= 400 or not isinstance(answer, dict):
            message = answer.get("message") if isinstance(answer, dict) else None
            raise GuildNetError(
                f"HTTP {code}: {message or text[:200] or 'no message'}",
                place=self._url,
                cure=_cure(code),
            )
        return answer

    def wait_for_passes(self, org: str | None, orgs: list[str], timeout: float) -> bool:
        """Whether each org finishes a pass that started after this call.

        The first pass to finish may have started before; the one requested after it has not.
        """
        deadline = time.monotonic() + timeout
        for _ in range(2):
            before = self._passes()
            self.request_pass(org)
            while any(now <= before.get(name, 0) for name, now in self._counts(orgs).items()):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.1)
        return True

    def _counts(self, orgs: list[str]) -> dict[str, float]:
        finished = self._passes()
        return {name: finished.get(name, 0) for name in orgs}

    def _passes(self) -> dict[str, float]:
        """The number of passes finished so far, by org."""
        passes: dict[str, float] = {}
        for org, number in _PASSES.findall(self._request("GET", "/metrics")[1]):
            passes[org] = passes.get(org, 0) + float(number)
        return passes

    def _request(self, method: str, path: str) -> tuple[int, str]:
        """Status and body of the answer. Raises ConfigurationError without an answer."""
        import http.client
        from contextlib import closing
        from urllib.parse import urlsplit

        from guildnet.errors import ConfigurationError

        try:
            parts = urlsplit(self._url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("not an http(s) URL")
            https = parts.scheme == "https"
            connect = http.client.HTTPSConnection if https else http.client.HTTPConnection
            with closing(connect(parts.hostname, parts.port, timeout=10)) as connection:
                connection.request(method, parts.path.rstrip("/") + path, headers=self._headers)
                answer = connection.getresponse()
                return answer.status, answer.read(_MAX_ANSWER_BYTES).decode(errors="replace")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ConfigurationError(
                f"cannot reach the reconciler: {error}",
                place=self._url,
                cure="Start it with `guildnet reconciler`, or give its address with --url.",
            ) from error


def _cure(code: int) -> str:
    if code == 401:
        return (
            "Use the reconciler's GUILDNET_STATE_DIR, or give the reconciler's token with "
            "--token-file."
        )
    return "Check the org's name, and the reconciler's log."
