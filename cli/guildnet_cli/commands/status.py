"""`guildnet status`: what the status branch records, once or whenever it changes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from guildnet_cli.options import GitOptions, RepoOption, StatusBranchOption, options, split_task
from guildnet_cli.output import Format, FormatOption, describe, emit, examples, say_changes

if TYPE_CHECKING:
    from guildnet_cli.repository.status_branch import StatusBranch


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet status", "guildnet status acme --watch", "guildnet status acme/fix-login"
        )
    )(status)


@options(git=GitOptions)
def status(
    what: Annotated[
        str | None, typer.Argument(metavar="ORG[/TASK]", help="Show only this org or task.")
    ] = None,
    *,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", "-w", help="Keep running; print the status again whenever it changes."
        ),
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.5, metavar="SECONDS", help="How often --watch polls.")
    ] = 2.0,
    repo: RepoOption = None,
    status_branch: StatusBranchOption = "status",
    git: GitOptions,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show the status of orgs and tasks, from the status branch.

    Exits with 1 when an org shown has quarantined files, held changes, faults or an unreachable
    cluster, or when the task shown has failed.
    """
    from guildnet_cli.repository.status_branch import StatusBranch
    from guildnet_cli.views.status import View

    org, task = _named(what)
    branch = StatusBranch(repo, status_branch, git.credentials(repo))
    if watch:
        _watch(branch, org, task, interval, output)
    view = View(branch.read(org, task), org, task)
    emit(view.to_json(), output, view.to_text)
    raise typer.Exit(1 if view.has_trouble else 0)


def _watch(
    branch: StatusBranch, org: str | None, task: str | None, interval: float, form: Format
) -> NoReturn:
    """Print the view whenever it changes, forever.

    Waits for a record that does not exist yet, and retries a remote that has answered before;
    reports both on standard error.
    """
    from guildnet.errors import GitUnavailable
    from guildnet_cli.repository.status_branch import NotRecorded
    from guildnet_cli.views.status import View

    seen = shown = ""
    report = say_changes()
    while True:
        try:
            snapshot = branch.read_newer(seen, org, task)
            if snapshot is not None:
                view = View(snapshot, org, task)
                seen = snapshot.commit
                # A commit may concern orgs and tasks that are not shown.
                if (text := view.to_text()) != shown:
                    if shown:
                        _separate()
                    shown = text
                    emit(view.to_json(), form, view.to_text)
        except (NotRecorded, GitUnavailable) as error:
            if isinstance(error, GitUnavailable) and not seen:
                raise
            report(f"{describe(error)}\nwaiting ...")
        time.sleep(interval)


def _separate() -> None:
    """Clear a terminal before the next view; in a pipe print an empty line."""
    if sys.stdout.isatty():
        typer.echo("\x1b[2J\x1b[H", nl=False)
    else:
        typer.echo("")


def _named(what: str | None) -> tuple[str | None, str | None]:
    if what is None:
        return None, None
    if "/" in what:
        return split_task(what)
    if not what:
        raise typer.BadParameter(f"{what!r} is not ORG or ORG/TASK")
    return what, None
