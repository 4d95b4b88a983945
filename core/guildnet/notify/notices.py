"""Which notifications follow from a change of the records, and which are not delivered yet. Pure.

The records are an outbox: the commit that records a change also lists its notices in `org.json`,
each with the receivers that it must still reach, and delivery removes them. So a restart sends what
is listed and nothing else. A notice that was delivered just before a crash is sent again with the
same `id`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from guildnet import conditions
from guildnet.notify.receivers import (
    BUDGET_EXCEEDED,
    CLUSTER_UNREACHABLE,
    FAILED,
    HELD,
    Receiver,
)
from guildnet.record import OrgRecord, TaskRecord

MAX_PENDING = 50
MAX_MESSAGE = 500
_NAMED_TASKS = 5
_OMITTED = "Omitted"
_FAILURES = {
    conditions.TASK_FAILED: FAILED,
    conditions.DEADLINE_EXCEEDED: FAILED,
    conditions.RETRIES_EXHAUSTED: FAILED,
    conditions.BUDGET_EXCEEDED: BUDGET_EXCEEDED,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification; `to` names the receivers that it has not reached.

    `task` is "" and `run` 0 for one about the org. `id` stays the same when it is sent again.
    `resolved` says that the cause is over.
    """

    id: str
    event: str
    message: str
    task: str = ""
    run: int = 0
    resolved: bool = False
    to: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        written = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {k: v for k, v in written.items() if v not in ("", 0, False)}


def pending_in(record: OrgRecord | None) -> Iterator[Notice]:
    """The notices that a record lists. Entries that are not notices are left out."""
    for entry in record.notices if record is not None else ():
        notice = _parsed(entry)
        if notice is not None:
            yield notice


def _parsed(entry: Any) -> Notice | None:
    if not isinstance(entry, Mapping):
        return None
    texts = {key: entry.get(key, "") for key in ("id", "event", "message", "task")}
    to, run = entry.get("to"), entry.get("run", 0)
    if not isinstance(to, list) or not all(isinstance(t, str) for t in (*to, *texts.values())):
        return None
    if not isinstance(run, int):
        return None
    return Notice(**texts, run=run, resolved=entry.get("resolved") is True, to=tuple(to))


def with_task_change(
    record: OrgRecord,
    before: TaskRecord | None,
    after: TaskRecord,
    receivers: Iterable[Receiver],
) -> OrgRecord:
    """The org's record after a task's record changed."""
    event = _FAILURES.get(after.result or "")
    if event is None:
        return record
    if before is not None and (before.run, before.result) == (after.run, after.result):
        return record
    notice = Notice(
        _id(after.org, event, after.task, after.run),
        event,
        f"{after.result}: {after.message}"[:MAX_MESSAGE].removesuffix(": "),
        task=after.task,
        run=after.run,
    )
    return _added(record, notice, receivers)


def with_org_change(
    before: OrgRecord | None, after: OrgRecord, receivers: Iterable[Receiver]
) -> OrgRecord:
    """`after` with the notices that were pending before, and those of its own change."""
    receivers = tuple(receivers)
    names = {receiver.name for receiver in receivers}
    remaining = (
        replace(notice, to=tuple(name for name in notice.to if name in names))
        for notice in pending_in(before)
    )
    record = replace(
        after,
        notices=tuple(notice.to_json() for notice in remaining if notice.to),
        incidents=before.incidents if before is not None else {},
    )
    was_reachable = before is None or before.cluster.get("reachable", True)
    is_reachable = after.cluster.get("reachable", True)
    if was_reachable and not is_reachable:
        message = str(after.cluster.get("message", ""))
        record = _incident(record, CLUSTER_UNREACHABLE, message, receivers)
    elif is_reachable and not was_reachable:
        record = _resolved(record, receivers)
    held = _newly_held(before, after)
    return _incident(record, HELD, _held_message(held), receivers) if held else record


def without_delivered(record: OrgRecord, notice_id: str, receiver: str) -> OrgRecord:
    """The record after a receiver has accepted a notice."""
    left = (
        replace(notice, to=tuple(name for name in notice.to if name != receiver))
        if notice.id == notice_id
        else notice
        for notice in pending_in(record)
    )
    return replace(record, notices=tuple(notice.to_json() for notice in left if notice.to))


def _newly_held(before: OrgRecord | None, after: OrgRecord) -> list[Mapping[str, Any]]:
    known = {(e.get("task"), e.get("reason")) for e in (before.held if before else ())}
    return [entry for entry in after.held if (entry.get("task"), entry.get("reason")) not in known]


def _held_message(held: list[Mapping[str, Any]]) -> str:
    if len(held) == 1:
        return ": ".join(filter(None, (str(held[0].get(k, "")) for k in ("task", "message"))))
    names = ", ".join(str(entry.get("task", "")) for entry in held[:_NAMED_TASKS])
    more = f" and {len(held) - _NAMED_TASKS} more" if len(held) > _NAMED_TASKS else ""
    return f"{len(held)} changes are held: {names}{more}: {held[0].get('message', '')}"


def _incident(
    record: OrgRecord, event: str, message: str, receivers: tuple[Receiver, ...]
) -> OrgRecord:
    """Number the event, so that each has an id of its own. Replicas find the same number."""
    if not _interested(receivers, event):
        return record
    number = record.incidents.get(event, 0) + 1
    record = replace(record, incidents={**record.incidents, event: number})
    notice = Notice(_id(record.org, event, "", number), event, message[:MAX_MESSAGE])
    return _added(record, notice, receivers)


def _resolved(record: OrgRecord, receivers: tuple[Receiver, ...]) -> OrgRecord:
    number = record.incidents.get(CLUSTER_UNREACHABLE)
    if number is None:  # no receiver knows of the outage
        return record
    notice = Notice(
        _id(record.org, CLUSTER_UNREACHABLE, "resolved", number),
        CLUSTER_UNREACHABLE,
        "the cluster can be reached again",
        resolved=True,
    )
    return _added(record, notice, receivers)


def _added(record: OrgRecord, notice: Notice, receivers: Iterable[Receiver]) -> OrgRecord:
    """The record with one more notice. A full outbox keeps its oldest notices, and counts in its
    last one how many were omitted."""
    to = _interested(receivers, notice.event)
    if not to:
        return record
    pending = list(pending_in(record))
    if len(pending) < MAX_PENDING:
        pending.append(replace(notice, to=to))
    else:
        last = pending[-1]
        omitted = last.run + 1 if last.event == _OMITTED else 2
        pending[-1] = Notice(
            _id(record.org, _OMITTED, last.id, omitted),
            _OMITTED,
            f"{omitted} more notifications were not sent: see guildnet status {record.org}",
            run=omitted,
            to=tuple(dict.fromkeys((*last.to, *to))),
        )
    return replace(record, notices=tuple(entry.to_json() for entry in pending))


def _interested(receivers: Iterable[Receiver], event: str) -> tuple[str, ...]:
    return tuple(receiver.name for receiver in receivers if event in receiver.on)


def _id(org: str, event: str, subject: str, number: int) -> str:
    return hashlib.sha256(f"{org}/{event}/{subject}/{number}".encode()).hexdigest()[:32]
