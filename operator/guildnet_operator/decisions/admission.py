"""Waiting for a turn, having one, and giving it back. Pure.

Who has a place and whose agent does not come up would keep it from all others for ever: the cause
may be one that only a person removes. So after a while it gives its place to who waits, rests,
and stands in line again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from guildnet import conditions
from guildnet.units import parse_time, rfc3339
from guildnet_operator.decisions.actions import Decision, park_if_deployed
from guildnet_operator.decisions.diagnosis import pod_failure
from guildnet_operator.decisions.inputs import COOLDOWN, QUEUED_STEP, SUSPENDED_STEP, Observed
from guildnet_operator.decisions.status import StatusDraft


def cooldown_ends(status: Mapping[str, Any]) -> datetime | None:
    """When who gave its place back stands in line again; None for anybody else."""
    yielded = status.get("yieldedAt")
    return parse_time(yielded) + COOLDOWN if yielded else None


def is_cooling_down(status: Mapping[str, Any], now: datetime) -> bool:
    until = cooldown_ends(status)
    return until is not None and now < until


def queue(o: Observed, draft: StatusDraft) -> Decision:
    """It is not its turn. What stood in the way of its last one stays said."""
    rest_ends = cooldown_ends(o.status) if is_cooling_down(o.status, o.now) else None
    if rest_ends is None:
        draft.condition(conditions.SCHEDULED, "False", "Queued", o.admission.message)
    if not o.status.get("yieldedAt"):
        draft.condition(conditions.READY, "False", "Provisioning", "waiting for its turn")
    queued = draft.put(phase="Queued").waiting("Queued").build()
    return Decision(queued, children=park_if_deployed(o), wake_at=rest_ends)


def leave(o: Observed, draft: StatusDraft) -> StatusDraft:
    """Out of its place, if it had one: something must come first. Who is suspended stays so."""
    if not o.status.get("attempt") or o.status.get("step") == SUSPENDED_STEP:
        return draft
    return draft.put(step=QUEUED_STEP, admittedAt=None)


def admitted_at(o: Observed) -> str:
    """Since when its agent is being brought up: anew whenever it was up since."""
    before = o.status.get("admittedAt")
    return before if before and o.status.get("step") == "Waiting" else rfc3339(o.now)


def has_provision_timed_out(o: Observed) -> bool:
    """Whether its agent should have come up long ago, and somebody waits for the place.

    Once its command began, its timeout bounds how long it can keep the place.
    """
    admitted = o.status.get("admittedAt")
    if not admitted or o.status.get("startedAt") or o.status.get("step") != "Waiting":
        return False
    return bool(o.admission.waiting) and o.now - parse_time(admitted) >= o.provision_timeout


def release_slot(o: Observed) -> Decision:
    """Out of its place, and for a while out of the line; the pod goes."""
    draft = StatusDraft(o).accepted()
    failure = pod_failure(o)
    patience, rest = (int(span.total_seconds() // 60) for span in (o.provision_timeout, COOLDOWN))
    why = failure.text if failure is not None else (o.agent.error if o.agent else "")
    message = (
        f"its agent did not come up within {patience} min; others have its place, and it stands "
        f"in line again after {rest} min. {why or 'Nothing says why'}"
    )
    draft.put(phase="Queued", step=QUEUED_STEP, admittedAt=None, yieldedAt=rfc3339(o.now))
    draft.condition(conditions.SCHEDULED, "False", "Queued", message)
    reason = failure.reason if failure and failure.type == conditions.READY else "Provisioning"
    draft.condition(conditions.READY, "False", reason, message).editor()
    return Decision(draft.working("Queued", message).build(), children="park")
