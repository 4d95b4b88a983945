"""The demo's table: what happened, and how long each leg took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Skipped is what was not tried, because what it builds on failed.
Verdict = Literal["ok", "FAILED", "skipped"]


@dataclass(frozen=True, slots=True)
class Leg:
    """One thing that had to happen. `seconds` is None for what has no duration of its own."""

    name: str
    seconds: float | None
    detail: str
    verdict: Verdict = "ok"

    @property
    def told(self) -> str:
        """On one line."""
        took = "" if self.seconds is None else f" ({self.seconds:.1f} s)"
        return f"{self.verdict:^6} {self.name}{took}: {self.detail}"


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
        words = (leg.verdict, leg.name, seconds, leg.detail)
        table.add_row(*map(Text, words), style="bold red" if leg.verdict == "FAILED" else None)
    console.print(table)
    console.print(Text(in_sum(legs)))


def in_sum(legs: list[Leg]) -> str:
    """How it went, in one line."""
    named = {
        verdict: [leg.name for leg in legs if leg.verdict == verdict]
        for verdict in ("FAILED", "skipped")
    }
    if not any(named.values()):
        return f"All {len(legs)} legs went well."
    parts = [f"{len(names)} {verdict}: {', '.join(names)}" for verdict, names in named.items()]
    return f"Of {len(legs)} legs {'; '.join(part for part in parts if not part.startswith('0'))}."
