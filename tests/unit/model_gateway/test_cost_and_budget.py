"""Prices, sums and limits."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_agent.supervisor.model_gateway.budget import Budget, parse_budget
from guildnet_agent.supervisor.model_gateway.ledger import Amount, Ledger, Price, parse_ledger
from guildnet_agent.supervisor.model_gateway.usage_reading import Tokens

PRICE = Price(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"))


def test_cached_and_written_input_have_their_own_price() -> None:
    tokens = Tokens(input=1_000_000, cached_input=600_000, cache_write=100_000, output=200_000)
    # 0.3 M plain at 3, 0.6 M cached at 0.3, 0.1 M written at 3.75, 0.2 M output at 15
    assert PRICE.cost(tokens) == Decimal("0.9") + Decimal("0.18") + Decimal("0.375") + 3


def test_a_cache_without_a_price_costs_as_other_input() -> None:
    tokens = Tokens(input=1_000_000, cached_input=600_000, cache_write=100_000)
    assert Price(Decimal(3), Decimal(15)).cost(tokens) == 3


def test_sums_are_exact() -> None:
    ledger = Ledger()
    for _ in range(1000):
        ledger = ledger.add("m", Amount(requests=1, cost=Decimal("0.1")))
    assert ledger.total.cost == 100
    assert ledger.to_json()["costUsd"] == 100.0


def test_without_prices_the_cost_is_unknown_and_not_zero() -> None:
    ledger = Ledger().add("free", Amount(requests=1, input=5))
    assert ledger.to_json()["costUsd"] is None
    both = ledger.add("dear", Amount(requests=1, cost=Decimal(2)))
    assert both.to_json()["costUsd"] == 2.0
    assert both.to_json()["models"]["free"]["costUsd"] is None


AMOUNTS = st.builds(
    Amount,
    *[st.integers(0, 10**12)] * 4,
    st.none() | st.decimals(0, 10**6, places=8),
    st.integers(0, 10),
)


@given(st.dictionaries(st.text(max_size=10), AMOUNTS, max_size=5))
def test_a_ledger_is_read_as_it_was_written(models: dict[str, Amount]) -> None:
    ledger = Ledger(models)
    again = parse_ledger(ledger.to_json())
    assert again.to_json() == ledger.to_json()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"models": []},
        {"models": {"m": 1}},
        {"models": {"m": {"requests": -1}}},
        {"models": {"m": {"costUsd": "much"}}},
    ],
)
def test_another_value_is_not_a_ledger(value: object) -> None:
    with pytest.raises(ValueError, match=r"ledger|amount|cost"):
        parse_ledger(value)


@pytest.mark.parametrize(
    ("budget", "used", "spent", "warned"),
    [
        ({}, Amount(10**9, 10**9, 0, 10**9, Decimal(10**9)), False, False),
        ({"requests": 10}, Amount(requests=7), False, False),
        ({"requests": 10}, Amount(requests=8), False, True),
        ({"requests": 10}, Amount(requests=10), True, True),
        ({"tokens": 100}, Amount(input=60, output=39), False, True),
        ({"tokens": 100}, Amount(input=60, output=40), True, True),
        ({"usd": 3}, Amount(cost=Decimal("2.9999")), False, True),
        ({"usd": 3}, Amount(cost=Decimal(3)), True, True),
        ({"usd": 0.1}, Amount(cost=Decimal("0.1")), True, True),
        ({"usd": 3, "requests": 1}, Amount(requests=1), True, True),
    ],
)
def test_limits(budget: dict[str, float], used: Amount, spent: bool, warned: bool) -> None:
    limits = parse_budget(budget)
    assert bool(limits.spent(used)) is spent
    assert bool(limits.warning(used)) is warned


def test_the_message_names_the_limit_that_was_reached() -> None:
    text = Budget(requests=2, tokens=10).spent(Amount(requests=1, input=8, output=3))
    assert text == "the budget of this run is spent: 11 of 10 tokens"
