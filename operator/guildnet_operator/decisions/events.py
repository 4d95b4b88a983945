"""Which changes of status become Kubernetes Events, so that `kubectl describe` tells the story."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guildnet import conditions
from guildnet_operator.views import Json

_EVENT_CONDITIONS = (
    conditions.ACCEPTED,
    conditions.SCHEDULED,
    conditions.READY,
    conditions.PUBLISHED,
    conditions.ARTIFACTS_COLLECTED,
    conditions.SUCCEEDED,
)
_NORMAL_REASONS = frozenset(
    {"Queued", "DependencyPending", "Provisioning", "Suspended", "Cancelled"}
)
_SILENT_REASONS = frozenset({"Valid", "Collected"})


@dataclass(frozen=True, slots=True)
class Transition:
    """One Event: `warning` where a person should look."""

    reason: str
    message: str
    warning: bool


def transitions(before: Json, after: Json) -> Iterator[Transition]:
    """The Events that lead from one status to the next, in the order of the conditions."""
    yield from _earlier_run(before, after)
    start = _start(before, after)
    for kind in _EVENT_CONDITIONS:
        if kind == conditions.READY and start is not None:
            yield start
        new = conditions.find(after.get("conditions", ()), kind)
        old = conditions.find(before.get("conditions", ()), kind)
        if new is None or new["reason"] == "Pending" or _same(old, new):
            continue
        reason = str(new["reason"])
        if reason in _SILENT_REASONS or (
            kind == conditions.READY and _is_covered_by_succeeded(reason, after)
        ):
            continue  # what is as it should be, and what Succeeded tells
        if reason == "Provisioning" and start is not None:
            continue  # of the very start that was just told
        warning = new["status"] == "Unknown" or (
            new["status"] == "False" and reason not in _NORMAL_REASONS
        )
        yield Transition(reason, str(new.get("message") or reason), warning)


def _start(before: Json, after: Json) -> Transition | None:
    """A start that status names and did not name before."""
    old, new = ([s.get(n, 0) for n in ("run", "attempt", "start")] for s in (before, after))
    run, attempt, start = new
    if not start or old == new:
        return None
    message = f"run {run}, attempt {attempt}, start {start} on {after.get('pod')}"
    return Transition("Starting", message, warning=False)


def _is_covered_by_succeeded(reason: str, after: Json) -> bool:
    return reason in conditions.RESULTS and conditions.is_finished(after, after.get("run", 0))


def _earlier_run(before: Json, after: Json) -> Iterator[Transition]:
    """The end of a run that the next one took the place of."""
    run = before.get("run", 0)
    if not run or run == after.get("run") or conditions.is_finished(before, run):
        return
    entry = next((e for e in after.get("history", ()) if e.get("run") == run), None)
    if entry is not None:
        where = f"; its work is on {entry['branch']}" if entry.get("branch") else ""
        message = f"run {run} ended as {entry['result']}, and run {after['run']} begins{where}"
        yield Transition("Superseded", message, warning=False)


def _same(old: Json | None, new: Json) -> bool:
    return old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"])
