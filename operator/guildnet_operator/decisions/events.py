"""Which changes of status become Events, so that `kubectl describe` shows what happened. Pure."""

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
    """One Event; `warning`: a person should look at it."""

    reason: str
    message: str
    warning: bool


def transitions(before: Json, after: Json) -> Iterator[Transition]:
    """The Events of one change of status, in the order of the conditions."""
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
            continue  # expected, or the same as the Event of Succeeded
        if reason == "Provisioning" and start is not None:
            continue  # the Event of the start says it already
        warning = new["status"] == "Unknown" or (
            new["status"] == "False" and reason not in _NORMAL_REASONS
        )
        yield Transition(reason, str(new.get("message") or reason), warning)


def _start(before: Json, after: Json) -> Transition | None:
    """The Event of a new start; None if status names no new one."""
    old, new = ([s.get(n, 0) for n in ("run", "attempt", "start")] for s in (before, after))
    run, attempt, start = new
    if not start or old == new:
        return None
    message = f"run {run}, attempt {attempt}, start {start} in pod {after.get('pod')}"
    return Transition("Starting", message, warning=False)


def _is_covered_by_succeeded(reason: str, after: Json) -> bool:
    return reason in conditions.RESULTS and conditions.is_finished(after, after.get("run", 0))


def _earlier_run(before: Json, after: Json) -> Iterator[Transition]:
    """The Event of a run that the next one superseded."""
    run = before.get("run", 0)
    if not run or run == after.get("run") or conditions.is_finished(before, run):
        return
    entry = next((e for e in after.get("history", ()) if e.get("run") == run), None)
    if entry is not None:
        where = f"; its work is on {entry['branch']}" if entry.get("branch") else ""
        message = f"run {run} ended as {entry['result']}; run {after['run']} follows{where}"
        yield Transition("Superseded", message, warning=False)


def _same(old: Json | None, new: Json) -> bool:
    return old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"])
