"""An org's daily budget: how much is left, and how the reconciler tells the operator. Pure.

The operator needs to know when nothing is left, and people like to see how much is. So the amount
is rounded to steps: the ConfigMap changes a few times a day, and not with each request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

from guildnet.digest import canonical_json

STEP_PERCENT = 5
LIMITS = {"usdPerDay": "USD", "tokensPerDay": "tokens"}
"""The limits that an org's file can set, and their units."""


@dataclass(frozen=True)
class BudgetLeft:
    """How much of each limit is left on a day (UTC), in percent; 0 only where it is spent."""

    day: date
    percent: Mapping[str, int]

    def to_json(self) -> str:
        return canonical_json({"day": self.day.isoformat(), "percentLeft": self.percent}).decode()

    @classmethod
    def from_json(cls, text: str) -> BudgetLeft:
        """Raises ValueError, TypeError, KeyError or AttributeError for anything else."""
        value = json.loads(text)
        percent = {limit: int(value["percentLeft"][limit]) for limit in value["percentLeft"]}
        return cls(date.fromisoformat(value["day"]), percent)

    @property
    def spent(self) -> tuple[str, ...]:
        """The limits of which nothing is left."""
        return tuple(name for name in LIMITS if self.percent.get(name, 100) <= 0)


def budget_left(
    budget: Mapping[str, Any], day: date, *, usd: Decimal | None, tokens: int
) -> BudgetLeft | None:
    """What is left on `day` after `usd` and `tokens`; None where the org has no budget."""
    amounts = _amounts(budget, usd=usd, tokens=tokens)
    percent = {name: _percent_left(*each) for name, each in amounts.items()}
    return BudgetLeft(day, percent) if percent else None


def used_part(budget: Mapping[str, Any], *, usd: Decimal | None, tokens: int) -> float | None:
    """The used part of a day's budget, of the limit of which most is used; None where the org has
    no budget."""
    amounts = _amounts(budget, usd=usd, tokens=tokens).values()
    return max((float(used / limit) if limit else 1.0 for used, limit in amounts), default=None)


def _amounts(
    budget: Mapping[str, Any], *, usd: Decimal | None, tokens: int
) -> dict[str, tuple[Decimal, Decimal]]:
    """What is used, and the limit, of each limit that the org has."""
    used = {"usdPerDay": usd or Decimal(0), "tokensPerDay": Decimal(tokens)}
    return {name: (used[name], Decimal(str(budget[name]))) for name in LIMITS if name in budget}


def _percent_left(used: Decimal, limit: Decimal) -> int:
    if used >= limit:
        return 0
    steps = (limit - used) / limit * (100 // STEP_PERCENT)
    return int(steps.to_integral_value(ROUND_CEILING)) * STEP_PERCENT


def next_day(now: datetime) -> datetime:
    """The midnight in UTC that ends the day of `now`."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)
