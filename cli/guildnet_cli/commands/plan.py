"""`guildnet plan`: what a commit would change in the orgs' clusters."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guildnet.errors import ConfigurationError, RefNotFound
from guildnet_cli.options import CheckoutOption
from guildnet_cli.output import Format, emit, examples

if TYPE_CHECKING:
    from guildnet.git.checkout import Checkout

_BLOCKED = ("hold", "quarantine", "misplaced")
_CHANGING = ("create", "update", "delete")
_UNCOMMITTED = "the files of the checkout"


class PlanFormat(StrEnum):
    """The output formats of a plan; `markdown` is for pull request comments and job summaries."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    MARKDOWN = "markdown"


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet plan",
            "guildnet plan --uncommitted",
            "guildnet plan --from main --to my-branch",
            "guildnet plan --from HEAD~3 -o json",
            "guildnet plan --from main -o markdown",
            "guildnet plan --from origin/main --uncommitted --exit-code",
        )
    )(plan)


def plan(
    *,
    from_rev: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REV",
            help="The revision to compare with. Default: origin/main, or else the parent of --to; "
            "HEAD with --uncommitted.",
        ),
    ] = None,
    to_rev: Annotated[
        str, typer.Option("--to", metavar="REV", help="The revision to plan.")
    ] = "HEAD",
    uncommitted: Annotated[
        bool,
        typer.Option("--uncommitted", help="Plan the files of the checkout, committed or not."),
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 2 when the plan changes something.")
    ] = False,
    repo: CheckoutOption = Path(),
    output: Annotated[
        PlanFormat, typer.Option("--output", "-o", help="Output format.")
    ] = PlanFormat.TEXT,
) -> None:
    """Show what a commit would create, change and delete.

    In a checkout without commits, plans its uncommitted files. Exits with 1 when the plan has a
    held, quarantined or misplaced file, also with --exit-code. `guildnet schema plan` prints the
    JSON Schema of the output.
    """
    if uncommitted and to_rev != "HEAD":
        raise typer.BadParameter("--uncommitted plans the files of the checkout; leave out --to")
    from guildnet.git.checkout import Checkout
    from guildnet_cli.views.plan import as_markdown, as_text
    from guildnet_reconciler.offline import plan_between, plan_work_tree

    checkout = Checkout(repo)
    checkout.top_level()  # fails where git refuses the folder, such as another user's checkout
    is_first = from_rev is None and to_rev == "HEAD" and checkout.revision("HEAD") is None
    if uncommitted or is_first:
        from_rev, to_rev = from_rev if is_first else from_rev or "HEAD", _UNCOMMITTED
        rows = plan_work_tree(repo, from_rev)
    else:
        if from_rev is None:
            from_rev = _default_base(checkout, to_rev)
        rows = plan_between(repo, from_rev, to_rev)
    data = {"from": from_rev, "to": to_rev, "changes": [asdict(row) for row in rows]}
    if output is PlanFormat.MARKDOWN:
        typer.echo(as_markdown(rows))
    else:
        emit(_plain(data), Format(output.value), lambda: as_text(rows))
    blocked = any(row.held or row.action in _BLOCKED for row in rows)
    changes = exit_code and any(row.action in _CHANGING for row in rows)
    raise typer.Exit(1 if blocked else 2 if changes else 0)


def _default_base(checkout: Checkout, to_rev: str) -> str | None:
    """The revision to compare `to_rev` with: origin/main, or the parent of `to_rev` where both are
    the same commit; None for the first commit.

    Raises RefNotFound for an unknown revision, ConfigurationError where the parent is not in this
    clone: every file would look new.
    """
    target = checkout.revision(to_rev)
    place = str(checkout.root)
    if target is None:
        raise RefNotFound(f"unknown revision {to_rev}", place=place)
    for candidate in ("origin/main", f"{to_rev}~1"):
        found = checkout.revision(candidate)
        if found is not None and found != target:
            return candidate
    if checkout.has_parents(target):
        raise ConfigurationError(
            f"shallow clone: the parent of {to_rev} is missing, so there is nothing to compare "
            "with",
            place=place,
            cure="Fetch more history (`git fetch --unshallow`; `fetch-depth: 0` in CI), or give a "
            "revision with --from.",
        )
    return None


def _plain(value: Any) -> Any:
    """Tuples as lists, the only sequence that the YAML writer knows."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
