"""Which changes of status become Kubernetes Events, so that `kubectl describe` tells the story."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guildnet import conditions
from guildnet_operator.projections import Json

_TOLD = (
    conditions.ACCEPTED,
    conditions.SCHEDULED,
    conditions.READY,
    conditions.PUBLISHED,
    conditions.ARTIFACTS_COLLECTED,
    conditions.SUCCEEDED,
)
_GOOD_NEWS = frozenset({"Queued", "DependencyPending", "Provisioning", "Suspended", "Cancelled"})
_OLD_NEWS = frozenset({"TaskSucceeded", "TaskFailed", "Pending"})
_NO_NEWS = frozenset({"Valid", "Collected"})


@dataclass(frozen=True, slots=True)
class Transition:
    """One Event: `warning` where a person should look."""

    reason: str
    message: str
    warning: bool


def transitions(before: Json, after: Json) -> Iterator[Transition]:
    """The Events that lead from one status to the next, in the order of the conditions."""
    triple = tuple(after.get(name, 0) for name in ("run", "attempt", "start"))
    if triple[2] and triple != tuple(before.get(name, 0) for name in ("run", "attempt", "start")):
        run, attempt, start = triple
        message = f"run {run}, attempt {attempt}, start {start} on {after.get('pod')}"
        yield Transition("Starting", message, warning=False)
    for kind in _TOLD:
        new = conditions.find(after.get("conditions", ()), kind)
        old = conditions.find(before.get("conditions", ()), kind)
        if new is None or new["status"] == "Unknown" or _same(old, new):
            continue
        reason = str(new["reason"])
        if reason in _NO_NEWS or (kind == conditions.READY and reason in _OLD_NEWS):
            continue  # what is as it should be, and what Succeeded tells
        warning = new["status"] == "False" and reason not in _GOOD_NEWS
        yield Transition(reason, str(new.get("message") or reason), warning)


def _same(old: Json | None, new: Json) -> bool:
    return old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"])
