"""`guildnet verify-status`: whether only reconcilers wrote the status branch."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from guildnet_cli.options import GitOptions, RepoOption, StatusBranchOption, options
from guildnet_cli.output import Format, FormatOption, counted, emit, examples, printable, say

_PROGRESS_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    app.command(
        name="verify-status",
        epilog=examples(
            "guildnet verify-status --allowed-signers reconcilers",
            "guildnet verify-status --allowed-signers reconcilers --since 4f2a9c...",
        ),
    )(verify_status)


@options(git=GitOptions)
def verify_status(
    *,
    allowed_signers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The SSH keys of reconcilers (ssh-keygen's allowed-signers format). "
            "Default: signatures are not checked.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="COMMIT", help="Check only the commits after this one."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Check at most so many of the newest commits.")
    ] = 100_000,
    repo: RepoOption = None,
    status_branch: StatusBranchOption = "status",
    git: GitOptions,
    output: FormatOption = Format.TEXT,
) -> None:
    """Check that only reconcilers wrote the status branch.

    Each commit must follow one other, be written and signed by a reconciler, touch only files of
    records, and write them as canonical JSON. Exits with 1 when one does not.
    """
    from guildnet.errors import ConfigurationError
    from guildnet_cli.repository.status_verification import verify

    if allowed_signers is not None and not allowed_signers.is_file():
        raise ConfigurationError(
            "no such file",
            place=str(allowed_signers),
            cure="Write a line `NAME KEY` for each reconciler's public key into it.",
        )
    if allowed_signers is None:
        say("signatures are not checked: give the reconcilers' keys with --allowed-signers")
    shown = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PROGRESS_SECONDS:
            shown = time.monotonic()
            say(f"{done:,} of {counted(total, 'commit')} checked")

    found = verify(
        repo,
        status_branch,
        git.credentials(repo),
        allowed_signers=allowed_signers,
        since=since,
        limit=limit,
        progress=progress,
    )
    emit(asdict(found), output, lambda: "\n".join(printable(str(p)) for p in found.problems))
    if output is Format.TEXT:
        problems = counted(len(found.problems), "problem") if found.problems else "no problems"
        say(f"{counted(found.commits, 'commit')} checked, {problems}")
    raise typer.Exit(1 if found.problems else 0)
