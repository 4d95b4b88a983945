"""What a run used of its models, as records hold it: checked, compared and added up. Pure.

Money is added as `Decimal` and written as a number: sums of many small costs stay exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

COUNTS = ("requests", "inputTokens", "cachedInputTokens", "outputTokens", "unreported")
COST = "costUsd"
MODELS = "models"
REPORTED_BY = "reportedBy"
AGENT = "agent"

MAX_MODELS = 16
MAX_MODEL_NAME = 256
MAX_REPORTED = 16
_MAX_REPORTED_NAME = 40
_LARGEST = 2**53
_PLACES = Decimal("0.00000001")

Usage = Mapping[str, Any]


def checked_usage(value: Any) -> dict[str, Any] | None:
    """The usage that a gateway counted, as far as it has the schema's form; None without any."""
    if not isinstance(value, Mapping):
        return None
    usage = _amount(value)
    models = value.get(MODELS)
    if isinstance(models, Mapping):
        usage[MODELS] = {
            name: _amount(amount)
            for name, amount in list(models.items())[:MAX_MODELS]
            if isinstance(name, str) and len(name) <= MAX_MODEL_NAME and isinstance(amount, Mapping)
        }
    return usage or None


def run_usage(status: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a status reports of its run: counted by the gateway, or else claimed by the agent."""
    counted = checked_usage(status.get("usage"))
    if counted is not None:
        return counted
    last_run = status.get("lastRun")
    claimed = last_run.get("usage") if isinstance(last_run, Mapping) else None
    if not isinstance(claimed, Mapping) or claimed.get(REPORTED_BY) != AGENT:
        return None
    numbers = {
        name: number
        for name, number in list(claimed.items())[:MAX_REPORTED]
        if isinstance(name, str) and len(name) <= _MAX_REPORTED_NAME and _is_number(number)
    }
    return {**numbers, REPORTED_BY: AGENT} if numbers else None


def is_counted(usage: Usage | None) -> bool:
    """Whether the gateway counted it; what an agent reports of itself is only a claim."""
    return bool(usage) and usage is not None and usage.get(REPORTED_BY) != AGENT


def tokens_of(usage: Usage) -> int:
    return int(usage.get("inputTokens", 0)) + int(usage.get("outputTokens", 0))


def without_models(usage: Usage | None) -> dict[str, Any] | None:
    """The totals alone, as a history keeps them."""
    return None if usage is None else {k: v for k, v in usage.items() if k != MODELS}


def larger(one: Usage | None, other: Usage | None) -> Usage | None:
    """The later of two reports on one run: counts only grow. A count wins over a claim."""
    if one is None or other is None:
        return one if other is None else other
    if is_counted(one) != is_counted(other):
        return one if is_counted(one) else other
    if not is_counted(one):
        return other
    return one if _progress(one) > _progress(other) else other


def added(one: Usage | None, other: Usage | None) -> Usage | None:
    """The sum of two counts; of claims only the later one stays."""
    if one is None or other is None:
        return one if other is None else other
    if not (is_counted(one) and is_counted(other)):
        return larger(one, other)
    total = _sum(one, other)
    parts = [part.get(MODELS, {}) for part in (one, other)]
    names = sorted({name for part in parts for name in part})
    if names:
        total[MODELS] = {
            name: _sum(*(part.get(name, {}) for part in parts)) for name in names[:MAX_MODELS]
        }
    return total


def cost_of(usage: Usage | None) -> Decimal | None:
    cost = usage.get(COST) if usage else None
    return None if cost is None else Decimal(str(cost))


def cost_number(cost: Decimal) -> float:
    """As JSON holds it: whole hundred-millionths of a dollar."""
    return float(cost.quantize(_PLACES))


def _progress(usage: Usage) -> tuple[int, int]:
    return int(usage.get("requests", 0)), tokens_of(usage)


def _sum(one: Usage, other: Usage) -> dict[str, Any]:
    present = [name for name in COUNTS if name in one or name in other]
    total: dict[str, Any] = {name: one.get(name, 0) + other.get(name, 0) for name in present}
    costs = [cost for cost in (cost_of(one), cost_of(other)) if cost is not None]
    if costs:
        total[COST] = cost_number(sum(costs, Decimal(0)))
    return total


def _amount(value: Mapping[str, Any]) -> dict[str, Any]:
    amount: dict[str, Any] = {
        name: value[name]
        for name in COUNTS
        if type(value.get(name)) is int and 0 <= value[name] <= _LARGEST
    }
    if _is_number(value.get(COST)):
        amount[COST] = value[COST]
    return amount


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= _LARGEST


def usage_text(value: Any) -> str:
    """One line for people; "" for anything that is not usage."""
    if not isinstance(value, Mapping):
        return ""
    if value.get(REPORTED_BY) == AGENT:
        numbers = [
            f"{name} {number:,}"
            for name, number in list(value.items())[:MAX_REPORTED]
            if isinstance(name, str) and _is_number(number)
        ]
        return f"{', '.join(numbers)} (reported by the agent)" if numbers else ""
    amount = _amount(value)
    if not amount:
        return ""
    cached = amount.get("cachedInputTokens", 0)
    parts = [
        _counted(amount.get("requests", 0), "request"),
        f"{amount.get('inputTokens', 0):,} input tokens",
        f"{amount.get('outputTokens', 0):,} output tokens",
    ]
    if cached:
        parts[1] += f" ({cached:,} cached)"
    if COST in amount:
        parts.append(f"{amount[COST]:.4f} USD")
    if amount.get("unreported"):
        parts.append(f"{_counted(amount['unreported'], 'answer')} estimated")
    return ", ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
