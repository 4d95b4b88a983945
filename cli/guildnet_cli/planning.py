"""`guildnet plan`: what a commit would do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guildnet_cli.output import Format, FormatOption, emit, examples, printable

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
