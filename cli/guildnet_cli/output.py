"""How verbs print: data as text, JSON or YAML, tables, messages and errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from guildnet.errors import GuildNetError, InvalidResource


class Format(StrEnum):
    """The output formats of verbs that print data."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[Format, typer.Option("--output", "-o", help="Output format.")]


def examples(*lines: str) -> str:
    """The examples at the end of a verb's help. The \\b keeps their line breaks."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def emit(data: Any, form: Format, as_text: Callable[[], str]) -> None:
    """Print `data` on standard output in the format `form`."""
    if form is Format.JSON:
        text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False)
    elif form is Format.YAML:
        import yaml

        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip("\n")
    else:
        text = as_text()
    if text:
        typer.echo(text)


def say(message: str) -> None:
    """Print a message on standard error: standard output is for data."""
    typer.echo(message, err=True)


def say_changes() -> Callable[[str], None]:
    """A `say` for polling loops: it leaves out a message that repeats the last one."""
    last = ""

    def say_change(message: str) -> None:
        nonlocal last
        if message != last:
            last = message
            say(message)

    return say_change


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in aligned columns under their headers, which are bold on a terminal."""
    lines = [tuple(headers), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    if sys.stdout.isatty():
        text[0] = typer.style(text[0], bold=True)
    return "\n".join(text)


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """`text` on one line without control characters, so that no agent can control a terminal."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def printable_line(line: str) -> str:
    """A line of a diff without control characters, its indentation kept."""
    return "".join(c if c.isprintable() else " " for c in line).rstrip()


def describe(error: GuildNetError) -> str:
    """An error as text: where it happened, what failed, what to do."""
    if isinstance(error, InvalidResource):
        return "\n".join(map(str, error.problems))
    place = f"{error.place}: " if error.place else ""
    cure = f"\n  what to do: {error.cure}" if error.cure else ""
    return f"guildnet: {place}{error.message}{cure}"
