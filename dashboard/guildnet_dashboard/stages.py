"""The progress of a run as five stages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from guildnet import conditions
from guildnet_dashboard.json_values import condition_list, text

Tone = Literal["done", "now", "bad", "todo", "skipped"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage; `when` is the time of its last change (RFC 3339, "" if unknown)."""

    title: str
    tone: Tone
    reason: str = ""
    when: str = ""


_WAITING = ("Queued", "DependencyPending", "VolumePending", "Provisioning", "Retrying")


def stages(record: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages Accepted, Scheduled, Running, Published and Finished of the recorded run."""
    if not record:
        return ()
    listed = condition_list(record)
    result = text(record, "result")
    found = [
        _stage("Accepted", conditions.find(listed, conditions.ACCEPTED)),
        _stage("Scheduled", conditions.find(listed, conditions.SCHEDULED)),
        _running(record, conditions.find(listed, conditions.READY)),
        _stage("Published", conditions.find(listed, conditions.PUBLISHED)),
        _finished(record),
    ]
    if result:
        return tuple(
            Stage(s.title, "skipped", s.reason, s.when) if s.tone in ("todo", "now") else s
            for s in found
        )
    return tuple(found)


def _stage(title: str, condition: Mapping[str, Any] | None) -> Stage:
    if condition is None or condition.get("status") not in ("True", "False"):
        return Stage(title, "todo", text(condition or {}, "reason"))
    reason, when = text(condition, "reason"), text(condition, "lastTransitionTime")
    if condition["status"] == "True":
        return Stage(title, "done", reason, when)
    if reason == "NothingToPublish":
        return Stage(title, "skipped", reason, when)
    return Stage(title, "now" if reason in _WAITING else "bad", reason, when)


def _running(record: Mapping[str, Any], ready: Mapping[str, Any] | None) -> Stage:
    started = text(record, "startedAt")
    reason = text(ready or {}, "reason")
    if text(record, "result"):
        return Stage("Running", "done" if started else "todo", "", started)
    if ready is not None and ready.get("status") == "True":
        return Stage("Running", "now", reason, started)
    waiting = reason in _WAITING or reason in ("", "Suspended", "TaskSucceeded", "TaskFailed")
    tone: Tone = "todo" if not reason else "now" if waiting else "bad"
    return Stage("Running", tone, reason, started or text(ready or {}, "lastTransitionTime"))


def _finished(record: Mapping[str, Any]) -> Stage:
    result = text(record, "result")
    if not result:
        return Stage("Finished", "todo")
    good = result == conditions.TASK_SUCCEEDED
    return Stage("Finished", "done" if good else "bad", result, text(record, "finishedAt"))
