"""`guildnet validate`: all problems of the files in a checkout, without a cluster."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet_cli.output import counted, examples, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guildnet.errors import Problem


class ProblemFormat(StrEnum):
    """The output formats of `guildnet validate`; `github` prints annotations for CI."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("guildnet validate", "guildnet validate state -o github"))(validate)


def validate(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A checkout of the state repository.")
    ] = Path(),
    output: Annotated[
        ProblemFormat, typer.Option("--output", "-o", help="Output format.")
    ] = ProblemFormat.TEXT,
) -> None:
    """Validate the files of orgs and tasks.

    Prints each problem as `file:line: message`. Exits with 1 when there are problems.
    """
    from guildnet.errors import ConfigurationError
    from guildnet_reconciler.offline import validate_tree

    if not directory.is_dir():
        raise ConfigurationError(
            "no such folder",
            place=str(directory),
            cure="Give the folder of a state repository's checkout.",
        )
    problems, files = validate_tree(directory)
    text = problems_as(output, problems)
    if text:
        typer.echo(text)
    if output is ProblemFormat.TEXT:
        read = f"{counted(files, 'file')} read"
        say(f"{counted(len(problems), 'problem')}, {read}" if problems else f"valid, {read}")
    raise typer.Exit(1 if problems else 0)


def problems_as(form: ProblemFormat, problems: Sequence[Problem]) -> str:
    """All problems as one text; without problems empty, except in JSON."""
    if form is ProblemFormat.JSON:
        import json

        found = {"valid": not problems, "problems": [p.to_json() for p in problems]}
        return json.dumps(found, indent=2)
    if form is ProblemFormat.GITHUB:
        return "\n".join(map(_annotation, problems))
    return "\n".join(map(str, problems))


def _annotation(problem: Problem) -> str:
    """A workflow command, which GitHub and Gitea show at the line of the file."""
    line = f",line={problem.line}" if problem.line else ""
    file = _escaped(problem.path).replace(":", "%3A").replace(",", "%2C")
    return f"::error file={file}{line}::{_escaped(problem.message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
