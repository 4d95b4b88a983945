"""A run's limits, and which of them its use has reached. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from guildnet_agent.supervisor.model_gateway.ledger import Amount

WARNING_SHARE = Decimal("0.8")


@dataclass(frozen=True)
class Budget:
    """The limits of a run; None means unlimited."""

    usd: Decimal | None = None
    tokens: int | None = None
    requests: int | None = None

    def spent(self, used: Amount) -> str | None:
        """What says that nothing is left, None while something is."""
        for share, text in self._shares(used):
            if share >= 1:
                return f"the budget of this run is spent: {text}"
        return None

    def warning(self, used: Amount) -> str | None:
        """What says that 80 % is used, None before."""
        for share, text in self._shares(used):
            if share >= WARNING_SHARE:
                return f"{int(share * 100)} % of the budget of this run is used: {text}"
        return None

    def _shares(self, used: Amount) -> Iterator[tuple[Decimal, str]]:
        if self.usd is not None:
            cost = used.cost or Decimal(0)
            yield _share(cost, self.usd), f"{cost:.4f} of {self.usd} USD"
        if self.tokens is not None:
            share = _share(Decimal(used.tokens), Decimal(self.tokens))
            yield share, f"{used.tokens} of {self.tokens} tokens"
        if self.requests is not None:
            share = _share(Decimal(used.requests), Decimal(self.requests))
            yield share, f"{used.requests} of {self.requests} requests"


def _share(used: Decimal, limit: Decimal) -> Decimal:
    return used / limit if limit > 0 else Decimal(1)


def parse_budget(value: Mapping[str, Any]) -> Budget:
    """The ``budget`` of a task; its schema has been checked."""
    usd = value.get("usd")
    return Budget(
        Decimal(str(usd)) if usd is not None else None, value.get("tokens"), value.get("requests")
    )
