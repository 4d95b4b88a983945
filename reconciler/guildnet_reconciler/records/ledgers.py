"""Keeps each org's ledger equal to its records, in every commit of the status branch.

A commit's ledgers are computed from the commit that it goes on, also where it is made again on what
another process has pushed: counts of the old parent would be lost or doubled there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime

from guildnet.digest import readable_json
from guildnet.errors import GitError
from guildnet.git import Mirror
from guildnet.git.fast_import import BlobId, Content
from guildnet.record import (
    MAX_RECORD_BYTES,
    Amounts,
    InvalidRecord,
    Kind,
    OrgRecord,
    Removed,
    StatusFile,
    TaskRecord,
    UsageLedger,
    increment,
    parse_record,
    parse_status_path,
    removed_path,
    task_record_path,
    usage_path,
)

log = logging.getLogger(__name__)

MAX_LEDGER_BYTES = 64 * 1024
"""Of 31 days; one that is longer was not written here."""

_COUNTED_KEYS = (b'"start":', b'"starts":', b'"attempt":', b'"attempts":', b'"usage":')
_REMOVED = b'"kind": "RemovedTask"'


class Ledgers:
    """Ledgers of the month, by org, as of the newest commit."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._latest: dict[str, UsageLedger] = {}

    def spent(self, org: str, day: date) -> Amounts:
        """What the org has used on the day, as far as it is recorded."""
        ledger = self._latest.get(org)
        return ledger.on(day) if ledger is not None else Amounts()

    def load(self, commit: str, org: str, day: date) -> None:
        """Take the org's ledger from a commit. Blocks."""
        self._latest[org] = self._read(commit, org, day)

    def complete(
        self, parent: str, changes: Mapping[str, Content], when: int
    ) -> Mapping[str, Content]:
        """The changes of a commit on `parent` made at `when`, with the ledgers they amount to."""
        files = {path: content for path, content in changes.items() if not _is_ledger(path)}
        day = datetime.fromtimestamp(when, UTC).date()
        totals: dict[str, Amounts] = {}
        for (org, task), before, after in self._replaced(parent, files):
            amounts = _increment(org, task, before, after)
            totals[org] = totals.get(org, Amounts()) + amounts
        for org, amounts in totals.items():
            if amounts != Amounts():
                ledger = self._read(parent, org, day).add(day, amounts)
                self._latest[org] = ledger
                files[usage_path(org, day)] = readable_json(ledger.to_json())
        return files

    def _replaced(
        self, parent: str, files: Mapping[str, Content]
    ) -> Iterator[tuple[tuple[str, str], bytes | None, bytes | None]]:
        """((org, task), its record in `parent`, its record afterwards) of tasks that change."""
        tasks = sorted({task for path in files if (task := _task_of(path)) is not None})
        pairs = [(task_record_path(*task), removed_path(*task)) for task in tasks]
        names = [f"{parent}:{path}" for pair in pairs for path in pair]
        found = [info.id if info else None for info in self._mirror.lookups(names)]
        ids = {content.id for content in files.values() if isinstance(content, BlobId)}
        contents = self._contents({*filter(None, found), *ids})
        known = dict(zip((path for pair in pairs for path in pair), found, strict=True))

        def now(path: str) -> bytes | None:
            content = files.get(path, BlobId(known[path] or ""))
            return contents.get(content.id) if isinstance(content, BlobId) else content

        for task, (record, removed) in zip(tasks, pairs, strict=True):
            before = contents.get(known[record] or "") or contents.get(known[removed] or "")
            yield task, before, now(record) or now(removed)

    def _contents(self, ids: set[str]) -> dict[str, bytes]:
        read = self._mirror.read_blobs(sorted(ids), max_bytes=MAX_RECORD_BYTES)
        return {blob: content for blob, _, content in read if content is not None}

    def _read(self, commit: str, org: str, day: date) -> UsageLedger:
        path = usage_path(org, day)
        try:
            content = self._mirror.show(commit, path, max_bytes=MAX_LEDGER_BYTES)
            return UsageLedger.from_json(org, json.loads(content)) if content else UsageLedger(org)
        except (GitError, ValueError, TypeError, AttributeError, RecursionError) as error:
            # Somebody else wrote it; the earlier one is in the branch's history.
            log.error("%s cannot be read and begins again: %s", path, error, extra={"org": org})
            return UsageLedger(org)


def _is_ledger(path: str) -> bool:
    file = parse_status_path(path)
    return file is not None and file.kind is Kind.LEDGER


def _task_of(path: str) -> tuple[str, str] | None:
    file = parse_status_path(path)
    is_task = file is not None and file.kind in (Kind.TASK, Kind.REMOVED)
    return (file.org, file.task) if file is not None and is_task else None


def _increment(org: str, task: str, before: bytes | None, after: bytes | None) -> Amounts:
    if not (_may_count(before) or _may_count(after)):
        return Amounts()
    new = _record(org, task, after)
    if new is None:
        return Amounts()
    try:
        return increment(_record(org, task, before), new)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.error("its usage cannot be counted: %s", error, extra={"org": org, "task": task})
        return Amounts()


def _may_count(content: bytes | None) -> bool:
    return content is not None and any(key in content for key in _COUNTED_KEYS)


def _record(org: str, task: str, content: bytes | None) -> TaskRecord | Removed | None:
    """None for a record that cannot be understood, and where there is none."""
    if content is None:
        return None
    kind = Kind.REMOVED if _REMOVED in content else Kind.TASK
    try:
        record = parse_record(StatusFile(kind, org, task), content)
    except InvalidRecord:
        return None
    return None if isinstance(record, OrgRecord) else record
