"""The demo's table: what happened, and how long each leg took."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Leg:
    """One thing that had to happen. `seconds` is None for what has no duration of its own."""

    name: str
    seconds: float | None
    detail: str
    passed: bool = True


def show(legs: list[Leg], console: Console) -> None:
    table = Table(title="What happened")
    for column in ("", "leg", "seconds", "detail"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for leg in legs:
        seconds = "" if leg.seconds is None else f"{leg.seconds:.1f}"
        table.add_row("ok" if leg.passed else "FAILED", leg.name, seconds, leg.detail)
    console.print(table)
