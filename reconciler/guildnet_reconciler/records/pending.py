"""Changes of records that wait to be committed and pushed, and which of them have been."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from guildnet.record import MAX_RECORD_BYTES, STATUS_ROOT, org_record_path
from guildnet_reconciler.records.batch import Batch, Subject, subject_of

log = logging.getLogger(__name__)


class LeaseState(Protocol):
    """An org's Lease."""

    @property
    def held(self) -> bool:
        """Whether it is held now, by the clock; may be called from any thread."""
        ...


class PendingChanges:
    """The next batch. Changes of an org's tasks are parked while its Lease is not held (I6)."""

    def __init__(self) -> None:
        self._batch = Batch()
        self._parked: dict[str, Batch] = {}
        self._leases: dict[str, LeaseState] = {}
        self._count = 0
        self._pushed = 0
        self._latest: dict[Subject, int] = {}
        self._unwritable: dict[Subject, str] = {}

    # --- adding and taking ------------------------------------------------------------------

    def add(self, subject: Subject, verb: str, files: Mapping[str, bytes | None]) -> bool:
        """Add a change; return whether it is to be committed now."""
        self._number(subject)
        self._unwritable.pop(subject, None)
        org, task = subject
        is_ours = not task or org in self._leases
        batch = self._batch if is_ours else self._parked.setdefault(org, Batch())
        for path, content in files.items():
            why = _objection(subject, path, content)
            if why is None:
                batch.files[path] = content
            else:
                self.drop(subject, why)
        batch.subjects[subject] = verb
        return is_ours

    def take(self) -> tuple[Batch, int]:
        """Remove and return the batch, and the number of the last change in it."""
        batch, self._batch = self._batch, Batch()
        return batch, self._count

    def put_back(self, batch: Batch) -> None:
        """A batch could not be committed; newer changes go over it."""
        self._batch = batch.under(self._batch)

    def drop(self, subject: Subject, why: str) -> None:
        """A change cannot be written; `is_pushed` will not count it as pushed."""
        self._unwritable[subject] = why
        org, task = subject
        log.warning("not recorded: %s", why, extra={"org": org, "task": task})

    def _number(self, subject: Subject) -> None:
        self._count += 1
        self._latest[subject] = self._count

    # --- Leases -----------------------------------------------------------------------------

    def lease_acquired(self, org: str, lease: LeaseState) -> bool:
        """Add the org's parked changes to the batch; return whether there were any."""
        self._leases[org] = lease
        parked = self._parked.pop(org, None)
        if parked is None:
            return False
        for subject in parked.subjects:
            self._number(subject)
        self._batch = parked.under(self._batch)
        return True

    def lease_lost(self, org: str) -> None:
        """Park the changes of the org's tasks."""
        self._leases.pop(org, None)
        parked, self._batch = self._batch.split(org)
        if parked.files:
            self._parked[org] = parked

    def discard(self, org: str) -> bool:
        """Another process may have written the org's records: drop its parked changes and its own
        record. Return whether changes had been parked."""
        self._batch.files.pop(org_record_path(org), None)
        self._batch.subjects.pop((org, ""), None)
        return self._parked.pop(org, None) is not None

    def yields(self, path: str) -> bool:
        """Whether our version of a file gives way to the one that another process pushed.

        The Lease is asked by the clock: a process that was paused does not know yet that it lost
        its Leases.
        """
        root, _, below = path.partition("/")
        lease = self._leases.get(below.partition("/")[0])
        return root == STATUS_ROOT and not (lease is not None and lease.held)

    # --- pushed or not ----------------------------------------------------------------------

    def mark_pushed(self, upto: int) -> None:
        """Changes up to a number are on the remote branch; -1 where earlier commits are not."""
        self._pushed = upto

    def is_pushed(self, subject: Subject) -> bool:
        """Whether the subject's latest change is on the remote branch."""
        return subject not in self._unwritable and self._latest.get(subject, 0) <= self._pushed

    def unwritable(self, org: str) -> dict[str, str]:
        """Why changes of an org were dropped, by task ("" for the org)."""
        return {task: why for (name, task), why in self._unwritable.items() if name == org}


def _objection(subject: Subject, path: str, content: bytes | None) -> str | None:
    """Why a file may not be on the branch; None where it may."""
    if subject_of(path) != subject:
        return f"{path[:200]!a} cannot be a file of the status branch"
    if content is not None and len(content) > MAX_RECORD_BYTES:
        name = path.rpartition("/")[2]
        return f"{name} has {len(content)} bytes; readers accept at most {MAX_RECORD_BYTES}"
    return None
