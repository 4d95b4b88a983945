"""How verbs print: data as text, JSON or YAML; tables; plain lines where nobody watches."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from guildnet.errors import GuildNetError, InvalidResource


class Format(StrEnum):
    """The forms in which a verb prints its data."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[
    Format, typer.Option("--output", "-o", help="Print the data in this form.")
]


def examples(*lines: str) -> str:
    """The end of a verb's help: examples, kept line by line."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def emit(data: Any, form: Format, as_text: Callable[[], str]) -> None:
    """Print `data` on standard output in the wanted form."""
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
    """One line about what is going on, on standard error: standard output is for data."""
    typer.echo(message, err=True)


def say_once() -> Callable[[str], None]:
    """`say` for what is found out again and again: a sentence is told when it is a new one."""
    last = ""

    def tell(message: str) -> None:
        nonlocal last
        if message != last:
            last = message
            say(message)

    return tell


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under their headers; headers in bold on a terminal."""
    lines = [tuple(headers), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    if sys.stdout.isatty():
        text[0] = typer.style(text[0], bold=True)
    return "\n".join(text)


def printable(text: str) -> str:
    """`text` on one line without control characters: agents' words never steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def describe(error: GuildNetError) -> str:
    """What failed, where, and what to do about it, as a person reads it."""
    if isinstance(error, InvalidResource):
        return "\n".join(map(str, error.problems))
    place = f"{error.place}: " if error.place else ""
    cure = f"\n  what to do: {error.cure}" if error.cure else ""
    return f"guildnet: {place}{error.message}{cure}"
