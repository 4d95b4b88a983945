"""The records of one org in memory: of each task what a plan needs, and the rest as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from sys import intern
from typing import Any

from guildnet import conditions
from guildnet.digest import readable_json
from guildnet.record import (
    MAX_RECORD_BYTES,
    InvalidRecord,
    OrgRecord,
    Removed,
    StoredFile,
    TaskRecord,
)

MAX_LISTED = 1024


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """The latest recorded run. `continues` is the branch that the next run continues, `blob` and
    `revision` are those of the file that the record was made from."""

    run: int
    digest: str
    result: str | None
    uid: str | None
    continues: str | None
    blob: str | None
    revision: str | None = None

    @classmethod
    def of(cls, record: TaskRecord) -> RecordedRun:
        return cls(
            run=record.run,
            digest=intern(record.digest),
            result=record.result,
            uid=record.uid and intern(record.uid),
            continues=_open_branch(record),
            blob=record.source_blob and intern(record.source_blob),
            revision=record.source_revision and intern(record.source_revision),
        )


def _open_branch(record: TaskRecord) -> str | None:
    """The branch of the latest pull request that is not known to be closed.

    The supervisor checks whether it is still open when the run starts.
    """
    if record.pull_request is not None:
        is_open = record.pull_request.get("state") == "open"
        return record.branch if is_open else None
    for entry in record.history:
        if entry.get("pullRequest"):
            return entry.get("branch")
    return None


def org_content(record: OrgRecord) -> bytes:
    """The file of an org's record. Its lists are cut where readers could not take them all."""
    content = readable_json(record.to_json())
    entries = MAX_LISTED
    while len(content) > MAX_RECORD_BYTES and entries:
        entries //= 2
        content = readable_json(_cut(record, entries).to_json())
    return content


def _cut(record: OrgRecord, entries: int) -> OrgRecord:
    lists = {"quarantined": record.quarantined, "held": record.held, "faults": record.faults}
    left_out = sum(max(0, len(items) - entries) for items in lists.values())
    note = {"reason": "TooMany", "message": f"{left_out} more entries do not fit in this file"}
    return replace(
        record,
        quarantined=tuple(map(_short, record.quarantined[:entries])),
        held=tuple(map(_short, record.held[:entries])),
        faults=(note, *map(_short, record.faults[:entries])),
    )


def _short(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v[:1000] if isinstance(v, str) else v for k, v in entry.items()}


@dataclass
class OrgRecords:
    """The records of one org. `unreadable` names tasks whose record cannot be understood: nothing
    of them is started and nothing deleted."""

    org: OrgRecord | None = None
    recorded: dict[str, RecordedRun] = field(default_factory=dict)
    removed: dict[str, Removed] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    _contents: dict[str, bytes] = field(default_factory=dict)

    def get(self, task: str) -> TaskRecord | None:
        """The whole record of a task."""
        content = self._contents.get(task)
        return None if content is None else TaskRecord.from_json(json.loads(content))

    def put(self, record: TaskRecord) -> bytes | None:
        """Store `record`; return its file's content, or None if the content has not changed."""
        content = readable_json(record.to_json())
        if self._contents.get(record.task) == content:
            return None
        self._keep(record, content)
        self.removed.pop(record.task, None)
        self.unreadable.discard(record.task)
        return content

    def _keep(self, record: TaskRecord, content: bytes) -> None:
        task = intern(record.task)
        self._contents[task] = content
        self.recorded[task] = RecordedRun.of(record)

    def remove(self, task: str) -> Removed | None:
        """Turn a task's record into its tombstone."""
        record = self.get(task)
        if record is None:
            return None
        self.recorded.pop(task)
        self._contents.pop(task)
        self.removed[task] = Removed.of(record)
        return self.removed[task]

    def counts(self) -> dict[str, int]:
        """How many tasks the org has, by state."""
        results = [known.result for known in self.recorded.values()]
        succeeded = results.count(conditions.TASK_SUCCEEDED)
        active = results.count(None)
        return {
            "tasks": len(results),
            "active": active,
            "succeeded": succeeded,
            "failed": len(results) - active - succeeded,
        }

    def take(self, stored: StoredFile) -> None:
        """Add one file of the branch."""
        try:
            record = stored.record()
        except InvalidRecord:
            if stored.file.task:
                self.unreadable.add(stored.file.task)
            return
        match record:
            case OrgRecord():
                self.org = record
            case TaskRecord():
                self._keep(record, stored.content or b"")
            case Removed():
                self.removed[record.task] = record
