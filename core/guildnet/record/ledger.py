"""An org's ledger: runs, tokens and cost by day, in one file for each month. Pure.

A ledger is never counted up from events. What a new record has beyond the one that it replaces is
added in the commit that replaces it, so both are on the branch or neither is, and the ledger always
equals what the records hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from guildnet import labels
from guildnet.record.files import Removed, TaskRecord
from guildnet.record.usage import (
    Usage,
    cost_number,
    cost_of,
    is_counted,
)

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MAX_DAYS = 31


@dataclass(frozen=True)
class Amounts:
    """`runs` are runs whose first pod was assigned. `cost` is None where no price is known."""

    runs: int = 0
    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal | None = None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Amounts) -> Amounts:
        costs = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Amounts(
            self.runs + other.runs,
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.output_tokens + other.output_tokens,
            sum(costs, Decimal(0)) if costs else None,
        )

    def to_json(self) -> dict[str, Any]:
        value = {
            "runs": self.runs,
            "requests": self.requests,
            "inputTokens": self.input_tokens,
            "cachedInputTokens": self.cached_input_tokens,
            "outputTokens": self.output_tokens,
        }
        return value if self.cost is None else {**value, "costUsd": cost_number(self.cost)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Amounts:
        """Raises ValueError, TypeError or AttributeError for anything that is not of that form."""
        names = ("runs", "requests", "inputTokens", "cachedInputTokens", "outputTokens")
        numbers = [value.get(name, 0) for name in names]
        cost = value.get("costUsd")
        if not all(type(number) is int for number in numbers):
            raise ValueError("a count is not a whole number")
        if cost is not None and type(cost) not in (int, float):
            raise ValueError("costUsd is not a number")
        runs, requests, read, cached, written = numbers
        exact = None if cost is None else Decimal(str(cost))
        return cls(runs, requests, read, cached, written, exact)


@dataclass(frozen=True)
class UsageLedger:
    """One month of one org, by day (yyyy-mm-dd)."""

    org: str
    days: Mapping[str, Amounts] = field(default_factory=dict)

    def on(self, day: date) -> Amounts:
        return self.days.get(day.isoformat(), Amounts())

    def add(self, day: date, amounts: Amounts) -> UsageLedger:
        return replace(self, days={**self.days, day.isoformat(): self.on(day) + amounts})

    def to_json(self) -> dict[str, Any]:
        days = {day: amounts.to_json() for day, amounts in sorted(self.days.items())}
        return {
            "apiVersion": labels.API_VERSION,
            "kind": "UsageLedger",
            "org": self.org,
            "days": days,
        }

    @classmethod
    def from_json(cls, org: str, value: Any) -> UsageLedger:
        """Raises ValueError, TypeError or AttributeError for anything that is not a ledger."""
        days = value.get("days")
        if not isinstance(days, Mapping) or len(days) > MAX_DAYS:
            raise ValueError("days is not an object of at most 31 days")
        if not all(_DAY.fullmatch(day) for day in days):
            raise ValueError("a day is not written as yyyy-mm-dd")
        return cls(org, {day: Amounts.from_json(amounts) for day, amounts in days.items()})


def increment(before: TaskRecord | Removed | None, after: TaskRecord | Removed) -> Amounts:
    """What `after` has of the runs of its task beyond what `before`, which it replaces, has."""
    known = dict(_runs_of(before)) if before is not None else {}
    total = Amounts()
    for run, (started, usage) in _runs_of(after):
        was_started, was_used = known.get(run, (False, None))
        total += Amounts(runs=int(started and not was_started)) + _difference(was_used, usage)
    return total


def _runs_of(record: TaskRecord | Removed) -> Iterator[tuple[int, tuple[bool, Usage | None]]]:
    """(run, (whether it was started, its counted usage)); of equal runs the last one counts."""
    for entry in record.history:
        started = bool(entry.get("starts") or entry.get("attempts", 0) > 1)
        yield int(entry["run"]), (started, _counted(entry.get("usage")))
    started = bool(record.start) or record.attempt > 1
    yield record.run, (started, _counted(record.usage))


def _counted(usage: Any) -> Usage | None:
    return usage if isinstance(usage, Mapping) and is_counted(usage) else None


def _difference(before: Usage | None, after: Usage | None) -> Amounts:
    if after is None:
        return Amounts()
    old: Usage = before or {}
    cost = cost_of(after)
    return Amounts(
        requests=after.get("requests", 0) - old.get("requests", 0),
        input_tokens=after.get("inputTokens", 0) - old.get("inputTokens", 0),
        cached_input_tokens=after.get("cachedInputTokens", 0) - old.get("cachedInputTokens", 0),
        output_tokens=after.get("outputTokens", 0) - old.get("outputTokens", 0),
        cost=None if cost is None else cost - (cost_of(old) or Decimal(0)),
    )
