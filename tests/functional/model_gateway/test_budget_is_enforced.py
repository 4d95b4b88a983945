"""At its budget a run gets no more answers, in words that its client does not repeat."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from guildnet_agent.supervisor.model_gateway.budget import Budget
from guildnet_agent.supervisor.model_gateway.protocols import PROTOCOLS

if TYPE_CHECKING:
    from tests.functional.model_gateway.conftest import Gateway

    from guildnet_agent.supervisor.model_gateway.protocols import ProtocolName

RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize(
    "budget",
    [Budget(requests=2), Budget(tokens=2100), Budget(usd=Decimal("0.0075"))],
    ids=["requests", "tokens", "usd"],
)
async def test_requests_beyond_the_budget_are_refused(
    gateway: Gateway, protocol: ProtocolName, budget: Budget
) -> None:
    """Two answers of 1,050 tokens and 0.00375 USD each are within all of these."""
    gateway.reopen(budget=budget)
    for _ in range(2):
        assert (await gateway.ask(protocol, stream=True)).status_code == 200
    assert gateway.exhausted == []
    for _ in range(2):
        refused = await gateway.ask(protocol, stream=True)
        assert 400 <= refused.status_code < 500
        assert refused.status_code not in RETRIED
        assert refused.headers["x-should-retry"] == "false"
        assert "budget of this run is spent" in refused.json()["error"]["message"]
    assert len(gateway.exhausted) == 1
    assert len(gateway.model.seen) == 2
    assert gateway.total["requests"] == 2


async def test_four_fifths_of_the_budget_are_reported_once(gateway: Gateway) -> None:
    gateway.reopen(budget=Budget(requests=5))
    for count in range(1, 6):
        await gateway.ask("anthropic", stream=True)
        assert len(gateway.warnings) == (1 if count >= 4 else 0)
    assert gateway.warnings == ["80 % of the budget of this run is used: 4 of 5 requests"]
