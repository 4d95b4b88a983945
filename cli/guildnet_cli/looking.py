"""`guildnet status`: what the status branch says, once or as it changes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from guildnet_cli.git_credentials import (
    GitCredentialsOption,
    GitTokenOption,
    GitUsernameOption,
    credentials,
)
from guildnet_cli.output import Format, FormatOption, describe, emit, examples, say_once

if TYPE_CHECKING:
    from guildnet_cli.state_repository import StatusBranch

RepoOption = Annotated[
    str | None,
    typer.Option(
        "--repo",
        metavar="URL-or-DIR",
        envvar="GUILDNET_REPO",
        help="The state repository; the origin of the checkout you are in by default.",
    ),
]
StatusBranchOption = Annotated[str, typer.Option("--status-branch", help="The record's branch.")]


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet status", "guildnet status acme --watch", "guildnet status acme/fix-login"
        )
    )(status)


def status(
    what: Annotated[
        str | None, typer.Argument(metavar="ORG[/TASK]", help="One org or one task.")
    ] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, as things change.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.5, metavar="SECONDS", help="With --watch: how often to look.")
    ] = 2.0,
    repo: RepoOption = None,
    status_branch: StatusBranchOption = "status",
    git_credentials: GitCredentialsOption = None,
    git_token_file: GitTokenOption = None,
    git_username: GitUsernameOption = "git",
    output: FormatOption = Format.TEXT,
) -> None:
    """Show how orgs and tasks stand, from the status branch.

    Exits with 1 when what it shows is quarantined, held, out of reach, or a task that failed.
    """
    from guildnet_cli.state_repository import StatusBranch
    from guildnet_cli.status_view import View

    org, task = _named(what)
    given = credentials(git_credentials, git_token_file, git_username)
    branch = StatusBranch(repo, status_branch, given)
    if watch:
        _watch(branch, org, task, interval, output)
    view = View(branch.read(org, task), org, task)
    emit(view.to_json(), output, view.to_text)
    raise typer.Exit(1 if view.has_trouble else 0)


def _watch(
    branch: StatusBranch, org: str | None, task: str | None, interval: float, form: Format
) -> NoReturn:
    """Each new picture, for good. What has no record yet is waited for, and a forge that is away
    once it was there is asked again; both are told."""
    from guildnet.errors import GitUnavailable
    from guildnet_cli.state_repository import NotRecorded
    from guildnet_cli.status_view import View

    seen = shown = ""
    tell = say_once()
    while True:
        try:
            snapshot = branch.read_newer(seen, org, task)
            if snapshot is not None:
                view = View(snapshot, org, task)
                seen = snapshot.commit
                # A commit may be about what this picture does not show.
                if (picture := view.to_text()) != shown:
                    if shown:
                        _separate()
                    shown = picture
                    emit(view.to_json(), form, view.to_text)
        except (NotRecorded, GitUnavailable) as error:
            if isinstance(error, GitUnavailable) and not seen:
                raise
            tell(f"{describe(error)}\nwaiting ...")
        time.sleep(interval)


def _separate() -> None:
    """Before the next picture: a fresh screen for people, an empty line for programs."""
    if sys.stdout.isatty():
        typer.echo("\x1b[2J\x1b[H", nl=False)
    else:
        typer.echo("")


def _named(what: str | None) -> tuple[str | None, str | None]:
    if what is None:
        return None, None
    org, separator, task = what.partition("/")
    if not org or (separator and not task) or "/" in task:
        raise typer.BadParameter(f"{what!r} is not ORG or ORG/TASK")
    return org, task or None
