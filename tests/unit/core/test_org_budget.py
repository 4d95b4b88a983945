"""An org's daily budget: the rest is reported in steps, and as 0 only when all is spent."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.org_budget import BudgetLeft, budget_left, next_day

DAY = date(2026, 11, 26)


@pytest.mark.parametrize(
    ("usd", "tokens", "left"),
    [
        (None, 0, {"usdPerDay": 100, "tokensPerDay": 100}),
        (Decimal("0.01"), 1, {"usdPerDay": 100, "tokensPerDay": 100}),
        (Decimal("2.6"), 60, {"usdPerDay": 95, "tokensPerDay": 40}),
        (Decimal("49.999999"), 99, {"usdPerDay": 5, "tokensPerDay": 5}),
        (Decimal("50"), 100, {"usdPerDay": 0, "tokensPerDay": 0}),
        (Decimal("70"), 500, {"usdPerDay": 0, "tokensPerDay": 0}),
    ],
)
def test_what_is_left_is_rounded_up(usd: Decimal | None, tokens: int, left: dict[str, int]) -> None:
    found = budget_left({"usdPerDay": 50, "tokensPerDay": 100}, DAY, usd=usd, tokens=tokens)
    assert found is not None
    assert found.percent == left


@given(st.integers(1, 10**12), st.integers(0, 10**13))
def test_only_a_spent_limit_has_nothing_left(limit: int, tokens: int) -> None:
    found = budget_left({"tokensPerDay": limit}, DAY, usd=None, tokens=tokens)
    assert found is not None
    assert bool(found.spent) == (tokens >= limit)
    assert BudgetLeft.from_json(found.to_json()) == found


def test_an_org_without_a_budget_has_none_left_to_report() -> None:
    assert budget_left({}, DAY, usd=Decimal(1), tokens=1) is None


def test_a_day_ends_at_midnight_in_utc() -> None:
    midnight = datetime(2026, 11, 27, tzinfo=UTC)
    assert next_day(datetime(2026, 11, 26, 23, 59, 59, tzinfo=UTC)) == midnight
    assert next_day(midnight) == midnight + timedelta(days=1)
    east = timezone(timedelta(hours=10))
    assert next_day(datetime(2026, 11, 27, 5, tzinfo=east)) == midnight
