"""The status branch: records batched into commits, kept on disk until the forge takes them.

The only writer of the branch in this process. Everything that is put here is canonical, so that
the same state makes no commit (I4); the branch only moves forward (I6).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from guildnet.agent_api.artifacts import OWN_DOCUMENTS, is_artifact_name
from guildnet.backoff import Backoff
from guildnet.digest import readable_json
from guildnet.errors import GitError, GitUnavailable, PushRejected, RefNotFound
from guildnet.git import BranchWriter, Mirror
from guildnet.names import is_word
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.record import (
    LOG_TAIL,
    MAX_RECORD_BYTES,
    STATUS_ROOT,
    Amounts,
    OrgRecord,
    Removed,
    TaskRecord,
    artifact_path,
    org_record_path,
    records_at,
    removed_path,
    restored,
    task_record_path,
)
from guildnet_reconciler.records.batch import Batch, subject_of
from guildnet_reconciler.records.ledgers import Ledgers
from guildnet_reconciler.records.org_records import OrgRecords, org_content

log = logging.getLogger(__name__)

ROOT_FILES = {
    "README.md": b"What GuildNet says of the orgs and tasks of this repository. Only GuildNet\n"
    b"writes this branch; what it says of a run is what keeps the run from running again.\n"
}
ROOT_MESSAGE = "status: begin"
MAX_TRIED_APART = 8
"""How many records are tried alone before it is git, and not one of them, that is at fault."""
MAX_PUSH_RETRY = timedelta(seconds=30)


class LeaseState(Protocol):
    """An org's Lease."""

    @property
    def held(self) -> bool:
        """Whether it is ours to write, by the clock, from any thread."""
        ...


class StatusWriter:
    """The records of all orgs, and the way they get to the remote.

    `on_pushed` is called when more of what was put has arrived there. `lost` says why the branch
    cannot be relied on; while it does, nothing may be started or deleted anywhere. What is put of
    tasks is written for orgs that are seated, whose Lease we hold; for any other it is parked.
    """

    def __init__(self, mirror: Mirror, writer: BranchWriter, interval: timedelta) -> None:
        self._mirror = mirror
        self._writer = writer
        self._ledgers = Ledgers(mirror)
        writer.completes = self._ledgers.complete
        self._interval = interval
        self._orgs: dict[str, OrgRecords] = {}
        self._batch = Batch()
        self._parked: dict[str, Batch] = {}
        self._leases_held: dict[str, LeaseState] = {}
        self._synced_at = 0.0
        self._dirty = asyncio.Event()
        self._writing = asyncio.Lock()
        self._put = 0
        self._pushed = 0
        self._puts: dict[tuple[str, str], int] = {}
        self.begun_anew = False
        self.lost: Stalled | None = None
        self.problem: GitError | None = None
        self.source_revision = ""
        self.on_pushed: Callable[[], None] = lambda: None
        self.commits = 0
        self._unwritable: dict[tuple[str, str], str] = {}

    # --- what is there ----------------------------------------------------------------------

    async def open(self, *, init: bool, known_elsewhere: bool) -> Outcome:
        """Read the branch, making it where there never was one.

        `known_elsewhere` says that a cluster remembers a status branch of this repository.
        """
        try:
            tip = await asyncio.to_thread(self._begin, init, known_elsewhere)
            orgs = await asyncio.to_thread(self._read, tip)
        except (PushRejected, RefNotFound) as error:
            self.lost = _lost(error)
            return self.lost
        except GitError as error:
            return Waiting(type(error).__name__, str(error))
        self.lost, self.begun_anew = None, init
        self._orgs = orgs
        if self._writer.waits:
            self._pushed = -1
            self._dirty.set()
        return Done()

    def _begin(self, init: bool, known_elsewhere: bool) -> str:
        branch = self._writer.branch
        ref = f"refs/heads/{branch}"
        if ref in self._mirror.ls_remote([ref]):
            return self._writer.sync(accept_rewritten=init, yields=self._yields())
        if (self._writer.pushed is not None or known_elsewhere) and not init:
            raise RefNotFound(f"there is no branch {branch} any more", place=self._mirror.place)
        return self._writer.create_root(ROOT_FILES, ROOT_MESSAGE)

    # --- whose turn it is -------------------------------------------------------------------

    async def refresh(self, org: str) -> bool:
        """Read an org's records again, after another process may have written them; what was
        parked of it is theirs to record. Whether anything was.

        Raises GitUnavailable, PushRejected or RefNotFound as `sync` does.
        """
        asked = time.monotonic()
        self.lease_lost(org)
        async with self._writing:
            if self._synced_at < asked:
                began = time.monotonic()
                await asyncio.to_thread(self._writer.sync, yields=self._yields())
                self._synced_at = began
            tip = self._writer.tip
            assert tip is not None
            found = await asyncio.to_thread(self._read, tip, org)
            self._orgs[org] = found.get(org, OrgRecords())
            had_parked = self._parked.pop(org, None) is not None
            self._batch.files.pop(org_record_path(org), None)
            self._batch.subjects.pop((org, ""), None)
            if self._writer.waits:
                self._dirty.set()
        return had_parked

    def lease_acquired(self, org: str, seat: LeaseState) -> None:
        """The org's Lease is held: what is put of its tasks, and what was parked, is written."""
        self._leases_held[org] = seat
        parked = self._parked.pop(org, None)
        if parked is None:
            return
        for subject in parked.subjects:
            self._put += 1
            self._puts[subject] = self._put
        self._batch = parked.under(self._batch)
        self._dirty.set()

    def lease_lost(self, org: str) -> None:
        """The org's Lease is lost: what is not written yet is parked, and what waits to be pushed
        yields to what its next holder writes (I6)."""
        self._leases_held.pop(org, None)
        taken, self._batch = self._batch.split(org)
        if taken.files:
            self._parked[org] = taken

    def _yields(self) -> Callable[[str], bool]:
        """Asked when a push was rejected, and of the clock: a process that was paused meanwhile
        does not know yet that its Leases are lost."""
        seats = self._leases_held

        def yields(path: str) -> bool:
            root, _, below = path.partition("/")
            seat = seats.get(below.partition("/")[0])
            return root == STATUS_ROOT and not (seat is not None and seat.held)

        return yields

    def _read(self, tip: str, org: str | None = None) -> dict[str, OrgRecords]:
        orgs: dict[str, OrgRecords] = {}
        for stored in records_at(self._mirror, tip, org):
            orgs.setdefault(stored.file.org, OrgRecords()).take(stored)
        today = datetime.now(UTC).date()
        for name in {*orgs, *filter(None, (org,))}:
            self._ledgers.load(tip, name, today)
        return orgs

    async def check(self, remote_tip: str | None) -> None:
        """Look whether the branch is still what we know, given where the remote says it is."""
        if remote_tip is not None and remote_tip == self._writer.pushed and self.lost is None:
            return
        async with self._writing:
            try:
                await asyncio.to_thread(self._writer.sync, yields=self._yields())
                self.lost = None
            except (PushRejected, RefNotFound) as error:
                self.lost = _lost(error)
            except GitError as error:
                self.problem = error

    @property
    def is_known_here(self) -> bool:
        """Whether the state directory remembers the branch."""
        return self._writer.pushed is not None

    def orgs(self) -> set[str]:
        """Every org that has records."""
        return set(self._orgs)

    def of(self, org: str) -> OrgRecords:
        """The records of an org; empty ones for an org that is new."""
        return self._orgs.setdefault(org, OrgRecords())

    def spent(self, org: str, day: date) -> Amounts:
        """What the org's tasks have used on a day, as far as it is recorded."""
        return self._ledgers.spent(org, day)

    def is_pushed(self, org: str, task: str) -> bool:
        """Whether what was last put of a task is on the remote branch."""
        subject = (org, task)
        return subject not in self._unwritable and self._puts.get(subject, 0) <= self._pushed

    def unwritable(self, org: str) -> dict[str, str]:
        """What of an org could not be written, and was dropped: by task ("" for the org)."""
        return {task: why for (name, task), why in self._unwritable.items() if name == org}

    # --- putting ----------------------------------------------------------------------------

    def put_org(self, record: OrgRecord, word: str = "org") -> bool:
        """Say how an org is; whether that is news."""
        records = self.of(record.org)
        if records.org == record:
            return False
        # Encoded before it is remembered: what cannot be encoded must not count as written.
        content = org_content(record)
        records.org = record
        self._change((record.org, ""), word, {org_record_path(record.org): content})
        return True

    def remove_org(self, org: str) -> None:
        """Take away the record of an org that is gone with all its tasks; tombstones stay."""
        self.of(org).org = None
        self._change((org, ""), "removed", {org_record_path(org): None})

    def put_task(self, record: TaskRecord, artifacts: Mapping[str, bytes]) -> bool:
        """Say how a task is; `artifacts` are files of its artifacts folder that are new."""
        files: dict[str, bytes | None] = {
            artifact_path(record.org, record.task, name): body for name, body in artifacts.items()
        }
        records = self.of(record.org)
        came_back = record.task in records.removed
        content = records.put(record)
        if content is not None:
            files[task_record_path(record.org, record.task)] = content
        if came_back:
            files[removed_path(record.org, record.task)] = None
        if not files:
            return False
        self._change((record.org, record.task), _word(record), files)
        return True

    def remove_task(self, org: str, task: str) -> None:
        """Move a task that left the source branch to its tombstone."""
        records = self.of(org)
        record = records.get(task)
        removed = records.remove(task)
        if removed is None or record is None:
            return
        folder = {artifact_path(org, task, name): None for name in _artifact_names(record)}
        files: dict[str, bytes | None] = {
            removed_path(org, task): readable_json(removed.to_json()),
            task_record_path(org, task): None,
            **folder,
        }
        self._change((org, task), "removed", files)

    def restore(self, removed: Removed) -> None:
        """Bring back the record of a task that came back as it was, finished."""
        self.put_task(restored(removed), {})

    def _change(
        self, subject: tuple[str, str], word: str, files: Mapping[str, bytes | None]
    ) -> None:
        self._put += 1
        self._puts[subject] = self._put
        self._unwritable.pop(subject, None)
        org, task = subject
        is_ours = not task or org in self._leases_held
        batch = self._batch if is_ours else self._parked.setdefault(org, Batch())
        for path, content in files.items():
            why = _objection(subject, path, content)
            if why is None:
                batch.files[path] = content
            else:
                self._drop(subject, why)
        batch.subjects[subject] = word
        if is_ours:
            self._dirty.set()

    # --- writing ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit and push what is put, an interval after it is; until cancelled."""
        backoff = Backoff(self._interval * 2, MAX_PUSH_RETRY)
        failures = 0
        while True:
            await self._dirty.wait()
            pause = backoff.pause(failures) if failures else self._interval
            await asyncio.sleep(pause.total_seconds())
            failures = 0 if await self.flush() else failures + 1

    async def keep(self) -> None:
        """Commit what waits without pushing it: from now on it is on disk."""
        async with self._writing:
            if self.lost is None and self._writer.tip is not None:
                batch, self._batch = self._batch, Batch()
                try:
                    await asyncio.to_thread(self._write, batch)
                except Exception:
                    self._batch = batch.under(self._batch)
                    raise

    async def flush(self) -> bool:
        """Commit and push now what waits; whether all of it arrived."""
        async with self._writing:
            self._dirty.clear()
            batch, self._batch = self._batch, Batch()
            upto = self._put
            try:
                if self.lost is None:
                    await asyncio.to_thread(self._write, batch)
                    batch = Batch()
                    await asyncio.to_thread(self._writer.push, self._yields())
            except (PushRejected, RefNotFound) as error:
                if _is_loss(error):
                    self.lost = _lost(error)
                self.problem = error
            except GitError as error:
                self.problem = error
            except Exception as error:
                log.exception("the status branch could not be written")
                self.problem = GitError(f"InternalError: {type(error).__name__}")
            else:
                if self.lost is None:
                    self.problem = None
                    self._pushed = upto
                    self.on_pushed()
                    return True
            self._batch = batch.under(self._batch)
            self._dirty.set()
            log.warning("status branch: %s", self.lost or self.problem)
            return False

    def _write(self, batch: Batch) -> None:
        """Commit the batch. What is at fault when git does not take it is found by halves and
        dropped, so that nothing of another org or task waits for it (I3)."""
        try:
            self._commit(batch)
        except GitUnavailable:
            raise
        except Exception as error:
            if len(batch.subjects) < 2 or not self._write_apart(batch):
                raise
            log.warning("a part of the status was dropped: %s", type(error).__name__)

    def _write_apart(self, batch: Batch) -> bool:
        """Commit what can be committed; False, with nothing dropped, where nothing can: then it
        is not one record that is at fault."""
        at_fault: dict[tuple[str, str], str] = {}
        waiting = [sorted(batch.subjects)]
        written = False
        while waiting:
            subjects = waiting.pop()
            try:
                self._commit(batch.only(subjects))
                written = True
            except Exception as error:
                if len(subjects) > 1:
                    half = len(subjects) // 2
                    waiting += [subjects[:half], subjects[half:]]
                    continue
                at_fault[subjects[0]] = f"git does not take it: {type(error).__name__}"
                if not written and len(at_fault) >= MAX_TRIED_APART:
                    return False
        if written:
            for subject, why in at_fault.items():
                self._drop(subject, why)
        return written

    def _commit(self, batch: Batch) -> None:
        if batch.files:
            before = self._writer.tip
            after = self._writer.commit(batch.files, batch.message(self.source_revision))
            self.commits += before != after

    def _drop(self, subject: tuple[str, str], why: str) -> None:
        """What was put of the subject is not written; `is_pushed` never says that it was."""
        self._unwritable[subject] = why
        org, task = subject
        log.warning("not recorded: %s", why, extra={"org": org, "task": task})


def _objection(subject: tuple[str, str], path: str, content: bytes | None) -> str | None:
    """Why a file may not stand on the branch; None where it may."""
    if subject_of(path) != subject:
        return f"{path[:200]!a} cannot be a file of the status branch"
    if content is not None and len(content) > MAX_RECORD_BYTES:
        name = path.rpartition("/")[2]
        return f"{name} has {len(content)} bytes; readers take at most {MAX_RECORD_BYTES}"
    return None


def _is_loss(error: GitError) -> bool:
    return isinstance(error, RefNotFound) or "rewritten" in error.message


def _lost(error: GitError) -> Stalled:
    cure = "push it back, or say that it is to be made anew: guildnet reconciler --init-status"
    return Stalled("StatusBranchLost", f"{error.message}: {cure}")


def _word(record: TaskRecord) -> str:
    if record.result is not None:
        return record.result.removeprefix("Task") if is_word(record.result) else "Finished"
    # A phase is a cluster's own word, and the subject of a commit is one line.
    return record.phase if is_word(record.phase) else "Pending"


def _artifact_names(record: TaskRecord) -> list[str]:
    fixed = (*OWN_DOCUMENTS, LOG_TAIL)
    named = (entry.get("name") for entry in record.artifacts if isinstance(entry, Mapping))
    return [*fixed, *(str(name) for name in named if is_artifact_name(name))]
