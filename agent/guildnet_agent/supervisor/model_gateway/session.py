"""What one start may use of the model, and what it used: the state between two requests."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from guildnet_agent.supervisor.model_gateway.access import ModelEndpoint
from guildnet_agent.supervisor.model_gateway.budget import Budget
from guildnet_agent.supervisor.model_gateway.ledger import Amount, Ledger
from guildnet_agent.supervisor.model_gateway.usage_reading import Tokens


def new_client_key() -> str:
    """A key for one start; its form tells people where it comes from."""
    return f"gn-{secrets.token_hex(24)}"


@dataclass
class GatewaySession:
    """One start's access. ``changed`` is called after each change of the ledger, ``exhausted``
    once, when a request was refused because the budget is spent, ``warn`` once at 80 % of it."""

    endpoint: ModelEndpoint
    client_key: str = field(repr=False)
    budget: Budget
    ledger: Ledger
    changed: Callable[[Ledger], None]
    exhausted: Callable[[str], None]
    warn: Callable[[str], None]
    is_exhausted: bool = False
    _has_warned: bool = False

    def admits(self, credential: str | None) -> bool:
        given = (credential or "").encode()
        return hmac.compare_digest(given, self.client_key.encode())

    def refusal(self) -> str | None:
        """Why no more requests are passed; None while something is left."""
        text = self.budget.spent(self.ledger.total)
        if text and not self.is_exhausted:
            self.is_exhausted = True
            self.exhausted(text)
        return text

    def count_request(self, model: str) -> None:
        """Before it is sent: requests under way count against the limit."""
        self._add(model, Amount(requests=1))

    def count_answer(self, model: str, tokens: Tokens, *, is_estimate: bool = False) -> None:
        """``is_estimate``: the answer did not report its usage to its end."""
        price = self.endpoint.prices.get(model)
        self._add(
            model,
            Amount(
                input=tokens.input,
                cached_input=tokens.cached_input,
                output=tokens.output,
                cost=price.cost(tokens) if price else None,
                unreported=int(is_estimate),
            ),
        )

    def count_failure(self, model: str) -> None:
        """An answer with an error uses nothing."""
        self.count_answer(model, Tokens())

    def _add(self, model: str, amount: Amount) -> None:
        self.ledger = self.ledger.add(model, amount)
        self.changed(self.ledger)
        text = self.budget.warning(self.ledger.total)
        if text and not self._has_warned:
            self._has_warned = True
            self.warn(text)
