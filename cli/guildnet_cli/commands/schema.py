"""`guildnet schema`: the JSON Schemas of Org, Task and plans, and the CRD of AgentTask."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from guildnet_cli.output import Format, FormatOption, emit, examples


class SchemaName(StrEnum):
    """What `guildnet schema` prints."""

    ORG = "org"
    TASK = "task"
    CRD = "crd"
    PLAN = "plan"


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet schema task > schemas/task.schema.json",
            "guildnet schema crd -o yaml | kubectl apply --server-side -f -",
        )
    )(schema)


def schema(
    name: Annotated[SchemaName, typer.Argument(help="Which schema to print.")],
    output: FormatOption = Format.JSON,
) -> None:
    """Print the schema of Org, Task or a plan, or the CRD."""
    from guildnet import schema as schemas

    makers: dict[SchemaName, Any] = {
        SchemaName.ORG: schemas.org_schema,
        SchemaName.TASK: schemas.task_schema,
        SchemaName.CRD: schemas.crd,
        SchemaName.PLAN: schemas.plan_schema,
    }
    form = Format.JSON if output is Format.TEXT else output
    emit(makers[name](), form, str)
