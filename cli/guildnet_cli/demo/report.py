"""The demo's table: what happened, and how long each leg took."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Leg:
    """One thing that had to happen. `seconds` is None for what has no duration of its own."""

    name: str
    seconds: float | None
    detail: str
    passed: bool = True

    @property
    def told(self) -> str:
        """On one line."""
        took = "" if self.seconds is None else f" ({self.seconds:.1f} s)"
        return f"{'  ok  ' if self.passed else 'FAILED'} {self.name}{took}: {self.detail}"


def show(legs: list[Leg], console: Console) -> None:
    """All legs as a table, and the sum of them in one line."""
    table = Table(title="What happened")
    for column in ("", "leg", "seconds", "detail"):
        table.add_column(
            column, justify="right" if column == "seconds" else "left", overflow="fold"
        )
    for leg in legs:
        seconds = "" if leg.seconds is None else f"{leg.seconds:.1f}"
        # Text: what clusters and agents say is never taken for markup.
        words = ("ok" if leg.passed else "FAILED", leg.name, seconds, leg.detail)
        table.add_row(*map(Text, words), style=None if leg.passed else "bold red")
    console.print(table)
    console.print(Text(in_sum(legs)))


def in_sum(legs: list[Leg]) -> str:
    """How it went, in one line."""
    failed = [leg.name for leg in legs if not leg.passed]
    if failed:
        return f"{len(failed)} of {len(legs)} legs failed: {', '.join(failed)}."
    return f"All {len(legs)} legs went well."
