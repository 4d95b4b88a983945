"""What a run used: requests, tokens and cost, in total and by model. Pure.

Money is `Decimal` here and a number in JSON: sums of a thousand requests stay exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from guildnet_agent.supervisor.model_gateway.usage_reading import Tokens

MILLION = 1_000_000
MAX_MODELS = 16
_PLACES = Decimal("0.00000001")


@dataclass(frozen=True)
class Price:
    """USD for a million tokens. What is not given of the cache costs as much as other input."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None

    def cost(self, tokens: Tokens) -> Decimal:
        cached = self.input if self.cached_input is None else self.cached_input
        written = self.input if self.cache_write is None else self.cache_write
        plain = max(tokens.input - tokens.cached_input - tokens.cache_write, 0)
        total = (
            plain * self.input
            + tokens.cached_input * cached
            + tokens.cache_write * written
            + tokens.output * self.output
        )
        return total / MILLION


@dataclass(frozen=True)
class Amount:
    """``cost`` is None where no price is known. ``unreported`` counts the answers that reported
    no usage, such as a stream that was cut too early."""

    requests: int = 0
    input: int = 0
    cached_input: int = 0
    output: int = 0
    cost: Decimal | None = None
    unreported: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output

    def __add__(self, other: Amount) -> Amount:
        known = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Amount(
            self.requests + other.requests,
            self.input + other.input,
            self.cached_input + other.cached_input,
            self.output + other.output,
            sum(known, Decimal(0)) if known else None,
            self.unreported + other.unreported,
        )

    def to_json(self) -> dict[str, Any]:
        cost = None if self.cost is None else float(self.cost.quantize(_PLACES))
        value = {
            "requests": self.requests,
            "inputTokens": self.input,
            "cachedInputTokens": self.cached_input,
            "outputTokens": self.output,
            "costUsd": cost,
        }
        return {**value, "unreported": self.unreported} if self.unreported else value


@dataclass(frozen=True)
class Ledger:
    """A run's use by model."""

    models: Mapping[str, Amount] = field(default_factory=dict)

    @property
    def total(self) -> Amount:
        return sum(self.models.values(), Amount())

    def add(self, model: str, amount: Amount) -> Ledger:
        known = self.models.get(model, Amount())
        return replace(self, models={**self.models, model: known + amount})

    def to_json(self) -> dict[str, Any]:
        models = {name: amount.to_json() for name, amount in sorted(self.models.items())}
        return {**self.total.to_json(), "models": models}


def parse_ledger(value: Any) -> Ledger:
    """What `Ledger.to_json` wrote. ValueError for anything else."""
    models = value.get("models") if isinstance(value, dict) else None
    if not isinstance(models, dict) or len(models) > MAX_MODELS:
        raise ValueError("not a ledger of usage")
    return Ledger({str(name): _parse_amount(amount) for name, amount in models.items()})


def _parse_amount(value: Any) -> Amount:
    if not isinstance(value, dict):
        raise ValueError("not an amount of usage")
    names = ("requests", "inputTokens", "cachedInputTokens", "outputTokens", "unreported")
    numbers = [value.get(name, 0) for name in names]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("an amount of usage is not a whole number")
    requests, read, cached, written, unreported = numbers
    cost = value.get("costUsd")
    try:
        exact = None if cost is None else Decimal(str(cost))
    except InvalidOperation as error:
        raise ValueError("a cost is not a number") from error
    return Amount(requests, read, cached, written, exact, unreported)
