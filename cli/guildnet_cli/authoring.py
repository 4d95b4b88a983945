"""Verbs that need no cluster and no reconciler: init, validate, schema."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guildnet_cli.output import Format, FormatOption, emit, examples, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guildnet.errors import Problem


class ProblemFormat(StrEnum):
    """The forms in which problems are listed; `github` makes annotations in CI."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


class SchemaName(StrEnum):
    """What `guildnet schema` prints."""

    ORG = "org"
    TASK = "task"
    CRD = "crd"


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("guildnet init state", "guildnet init state --no-examples"))(init)
    app.command(epilog=examples("guildnet validate", "guildnet validate state -o github"))(validate)
    app.command(
        epilog=examples(
            "guildnet schema task > schemas/task.schema.json",
            "guildnet schema crd -o yaml | kubectl apply --server-side -f -",
        )
    )(schema)


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to lay it out; made when missing.")
    ],
    with_examples: Annotated[
        bool, typer.Option("--examples/--no-examples", help="With an example org and its tasks.")
    ] = True,
) -> None:
    """Lay out a state repository: orgs, tasks, schemas, CI."""
    from guildnet_cli.template import lay_out

    made = lay_out(directory, with_examples=with_examples)
    for path in made:
        typer.echo(path)
    say(
        f"State repository laid out in {directory}. Next:\n"
        f"  cd {directory}\n"
        "  guildnet org add NAME --kubeconfig FILE\n"
        "  git add . && git commit -m 'Lay out the state repository'"
    )


def validate(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The state repository's folder."),
    ] = Path(),
    output: Annotated[
        ProblemFormat, typer.Option("--output", "-o", help="How problems are listed.")
    ] = ProblemFormat.TEXT,
) -> None:
    """List all problems of orgs and tasks: `file:line: message`."""
    from guildnet.errors import ConfigurationError
    from guildnet_reconciler.offline import validate_tree

    if not directory.is_dir():
        raise ConfigurationError(
            "no such folder", place=str(directory), cure="Name a state repository's folder."
        )
    problems, files = validate_tree(directory)
    text = problems_as(output, problems)
    if text:
        typer.echo(text)
    if output is ProblemFormat.TEXT:
        read = f"{files} file{'s' * (files != 1)} read"
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
        say(f"{count}, {read}" if problems else f"valid, {read}")
    raise typer.Exit(1 if problems else 0)


def problems_as(form: ProblemFormat, problems: Sequence[Problem]) -> str:
    """All the problems in one text; empty for none, but in JSON."""
    if form is ProblemFormat.JSON:
        import json

        found = {"valid": not problems, "problems": [p.to_json() for p in problems]}
        return json.dumps(found, indent=2)
    if form is ProblemFormat.GITHUB:
        return "\n".join(map(_annotation, problems))
    return "\n".join(map(str, problems))


def _annotation(problem: Problem) -> str:
    """A workflow command that GitHub and Gitea show at the line of the file."""
    line = f",line={problem.line}" if problem.line else ""
    file = _escaped(problem.path).replace(":", "%3A").replace(",", "%2C")
    return f"::error file={file}{line}::{_escaped(problem.message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def schema(
    name: Annotated[SchemaName, typer.Argument(help="Which schema.")],
    output: FormatOption = Format.JSON,
) -> None:
    """Print the JSON Schema of Org or Task, or AgentTask's CRD."""
    from guildnet import schema as schemas

    makers: dict[SchemaName, Any] = {
        SchemaName.ORG: schemas.org_schema,
        SchemaName.TASK: schemas.task_schema,
        SchemaName.CRD: schemas.crd,
    }
    form = Format.JSON if output is Format.TEXT else output
    emit(makers[name](), form, str)
