"""`guildnet plan` and `guildnet sync`: what a commit would do, and asking for it now."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guildnet_cli.output import Format, FormatOption, emit, examples, printable, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guildnet_reconciler.offline import PlanRow

_SIGNS = {"create": "+", "update": "~", "delete": "-", "hold": "!", "quarantine": "!"}


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet plan",
            "guildnet plan --from main --to my-branch",
            "guildnet plan --from HEAD~3 -o json",
        )
    )(plan)
    app.command(epilog=examples("guildnet sync", "guildnet sync acme --url http://127.0.0.1:8080"))(
        sync
    )


def plan(
    from_rev: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REV",
            help="Where things stand; by default origin/main, or the commit before --to.",
        ),
    ] = None,
    to_rev: Annotated[str, typer.Option("--to", metavar="REV", help="What would come.")] = "HEAD",
    repo: Annotated[
        Path, typer.Option(metavar="DIR", help="The state repository's checkout.")
    ] = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what a commit would create, change and delete, per org.

    Exits with 1 when something in it would be held or quarantined.
    """
    from guildnet_cli.checkout import default_base
    from guildnet_reconciler.offline import plan_between

    if from_rev is None:
        from_rev = default_base(repo, to_rev)
    rows = plan_between(repo, from_rev, to_rev)
    data = {"from": from_rev, "to": to_rev, "changes": [asdict(row) for row in rows]}
    emit(_plain(data), output, lambda: as_text(rows))
    stopped = any(row.held or row.action in ("hold", "quarantine") for row in rows)
    raise typer.Exit(1 if stopped else 0)


def as_text(rows: Sequence[PlanRow]) -> str:
    """The plan org by org, and its sum in one line."""
    lines: list[str] = []
    for org in dict.fromkeys(row.org for row in rows):
        lines += [org, *(line for row in rows if row.org == org for line in _lines(row)), ""]
    counts = {
        word: sum(row.action == action for row in rows)
        for action, word in (
            ("create", "to create"),
            ("update", "to change"),
            ("delete", "to delete"),
            ("quarantine", "quarantined"),
        )
    }
    held = sum(bool(row.held) or row.action == "hold" for row in rows)
    told = [f"{number} {word}" for word, number in {**counts, "held": held}.items() if number]
    return "\n".join([*lines, f"Plan: {', '.join(told) or 'nothing to do'}."])


def _lines(row: PlanRow) -> Iterator[str]:
    places = f"  {', '.join(row.fields)}" if row.fields else ""
    reason = f"  ({printable(row.reason)})" if row.reason else ""
    yield f"  {_SIGNS.get(row.action, ' ')} {row.action} {row.task or row.org}{places}{reason}"
    if row.held:
        yield f"      held: {printable(row.held)}"


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML has no other."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def sync(
    org: Annotated[
        str | None, typer.Argument(metavar="[ORG]", help="One org; all of them by default.")
    ] = None,
    url: Annotated[
        str,
        typer.Option(
            metavar="URL", envvar="GUILDNET_RECONCILER_URL", help="Where the reconciler listens."
        ),
    ] = "http://127.0.0.1:8080",
    wait: Annotated[bool, typer.Option("--wait", help="Return once the pass is made.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Ask a running reconciler for a pass now."""
    import httpx

    from guildnet.errors import ConfigurationError, GuildNetError

    query = {**({"org": org} if org else {}), **({"wait": "true"} if wait else {})}
    try:
        answer = httpx.post(f"{url.rstrip('/')}/sync", params=query, timeout=120 if wait else 10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigurationError(
            f"the reconciler gives no answer: {error}",
            place=url,
            cure="Start it with `guildnet reconciler`, or name its address with --url.",
        ) from error
    told = _answer(answer)
    if answer.status_code >= 400:
        raise GuildNetError(
            f"HTTP {answer.status_code}: {told.get('message') or told.get('detail') or 'refused'}",
            place=url,
            cure="Look into the reconciler's log.",
        )
    emit(told, output, lambda: "")
    say("done" if wait else "queued")


def _answer(answer: Any) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {"message": answer.text[:200]}
    return told if isinstance(told, dict) else {"result": told}
