"""The demo's table: the result and duration of each leg."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: A leg is skipped when a step it depends on failed.
Verdict = Literal["ok", "FAILED", "skipped"]


@dataclass(frozen=True, slots=True)
class Leg:
    """One expected event. `seconds` is None where a duration means nothing."""

    name: str
    seconds: float | None
    detail: str
    verdict: Verdict = "ok"

    @property
    def line(self) -> str:
        """The leg on one line."""
        took = "" if self.seconds is None else f" ({self.seconds:.1f} s)"
        return f"{self.verdict:^6} {self.name}{took}: {self.detail}"


def show(legs: list[Leg], console: Console) -> None:
    """Print all legs as a table, and a summary line."""
    table = Table(title="What happened")
    for column in ("", "leg", "seconds", "detail"):
        table.add_column(
            column, justify="right" if column == "seconds" else "left", overflow="fold"
        )
    for leg in legs:
        seconds = "" if leg.seconds is None else f"{leg.seconds:.1f}"
        # Text, so that output of clusters and agents is never parsed as markup.
        cells = (leg.verdict, leg.name, seconds, leg.detail)
        table.add_row(*map(Text, cells), style="bold red" if leg.verdict == "FAILED" else None)
    console.print(table)
    console.print(Text(summary(legs)))


def summary(legs: list[Leg]) -> str:
    """The result in one line."""
    named = {
        verdict: [leg.name for leg in legs if leg.verdict == verdict]
        for verdict in ("FAILED", "skipped")
    }
    if not any(named.values()):
        return f"All {len(legs)} legs passed."
    parts = [f"{len(names)} {verdict}: {', '.join(names)}" for verdict, names in named.items()]
    return f"Of {len(legs)} legs {'; '.join(part for part in parts if not part.startswith('0'))}."
