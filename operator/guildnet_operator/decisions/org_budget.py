"""The org's daily budget: while nothing of it is left, no new attempt is admitted. Pure.

Attempts that were admitted go on: their pods may be lost and their starts repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from guildnet import conditions
from guildnet.org_budget import LIMITS, next_day
from guildnet.units import rfc3339
from guildnet_operator.decisions.actions import Decision, park_if_deployed
from guildnet_operator.decisions.admission import leave_slot
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.decisions.status import StatusDraft
from guildnet_operator.views import OrgSettings

REASON = "BudgetExhausted"


def is_budget_spent(org: OrgSettings, now: datetime) -> bool:
    """Whether a limit of the org is spent today; what was spent on another day does not count."""
    left = org.budget_left
    return left is not None and bool(left.spent) and left.day == now.astimezone(UTC).date()


def waits_for_budget(status: Mapping[str, Any], org: OrgSettings, now: datetime) -> bool:
    """Whether the next attempt of an AgentTask may not be admitted today."""
    is_admitted = bool(status.get("start") or status.get("admittedAt"))
    return not is_admitted and is_budget_spent(org, now)


def wait_for_budget(o: Observed, draft: StatusDraft) -> Decision:
    """Hold no slot until the next day, or until the reconciler reports that something is left."""
    continues = next_day(o.now)
    message = f"{_spent(o.org)}; the next attempt is admitted at {rfc3339(continues)}"
    leave_slot(o, draft).put(phase="Queued")
    draft.condition(conditions.SCHEDULED, "False", REASON, message)
    draft.condition(conditions.READY, "False", "Provisioning", message)
    status = draft.waiting(REASON, message).build()
    return Decision(status, children=park_if_deployed(o), wake_at=continues)


def _spent(org: OrgSettings) -> str:
    names = org.budget_left.spent if org.budget_left is not None else ()
    parts = [f"{_number(org.budget.get(name))}{LIMITS[name]}" for name in names]
    return f"the org's budget of {' and '.join(parts)} a day is spent"


def _number(value: Any) -> str:
    return f"{value:,.10g} " if isinstance(value, int | float) else ""
