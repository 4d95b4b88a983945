"""The status branch: keeps the records of all orgs, and commits and pushes what changes.

Nothing else in this process writes the branch. Every file is canonical, so that an unchanged state
makes no commit (I4). The branch only moves forward (I6). While the forge is down, commits stay on
disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta

from guildnet.agent_api.artifacts import OWN_DOCUMENTS, is_artifact_name
from guildnet.backoff import Backoff
from guildnet.digest import readable_json
from guildnet.errors import GitError, PushRejected, RefNotFound
from guildnet.git import BranchWriter, Mirror
from guildnet.names import is_word
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.record import (
    LOG_TAIL,
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
from guildnet_reconciler.records.batch import Batch, Subject
from guildnet_reconciler.records.committing import BatchCommitter
from guildnet_reconciler.records.ledgers import Ledgers
from guildnet_reconciler.records.org_records import OrgRecords, org_content
from guildnet_reconciler.records.pending import LeaseState, PendingChanges

log = logging.getLogger(__name__)

ROOT_FILES = {
    "README.md": b"The state of the orgs and tasks of this repository, as GuildNet reports it.\n"
    b"Only GuildNet writes this branch. A recorded result keeps a run from running again.\n"
}
ROOT_MESSAGE = "status: begin"
MAX_PUSH_RETRY = timedelta(seconds=30)


class StatusWriter:
    """The records of all orgs.

    `on_pushed` is called after each push. `lost` says why the branch cannot be relied on; while it
    is set, nothing may be started or deleted anywhere. `is_new` says that the branch was created
    again without its earlier records.
    """

    def __init__(self, mirror: Mirror, writer: BranchWriter, interval: timedelta) -> None:
        self.is_new = False
        self.lost: Stalled | None = None
        self.problem: GitError | None = None
        self.on_pushed: Callable[[], None] = lambda: None
        self._mirror = mirror
        self._writer = writer
        self._ledgers = Ledgers(mirror)
        writer.completes = self._ledgers.complete
        self._interval = interval
        self._orgs: dict[str, OrgRecords] = {}
        self._pending = PendingChanges()
        self._committer = BatchCommitter(writer)
        self._synced_at = 0.0
        self._dirty = asyncio.Event()
        self._dirty_since: float | None = None
        self._writing = asyncio.Lock()

    # --- opening ----------------------------------------------------------------------------

    async def open(self, *, init: bool, known_elsewhere: bool) -> Outcome:
        """Read the branch; create it if the repository never had one.

        `known_elsewhere` says that a cluster knows a status branch of this repository.
        """
        try:
            tip = await asyncio.to_thread(self._begin, init, known_elsewhere)
            orgs = await asyncio.to_thread(self._read, tip)
        except (PushRejected, RefNotFound) as error:
            self.lost = _lost(error)
            return self.lost
        except GitError as error:
            return Waiting(type(error).__name__, str(error))
        self.lost, self.is_new = None, init
        self._orgs = orgs
        if self._writer.waits:
            self._pending.mark_pushed(-1)
            self._wake()
        return Done()

    def _begin(self, init: bool, known_elsewhere: bool) -> str:
        branch = self._writer.branch
        ref = f"refs/heads/{branch}"
        if ref in self._mirror.ls_remote([ref]):
            return self._writer.sync(accept_rewritten=init, yields=self._pending.yields)
        if (self._writer.pushed is not None or known_elsewhere) and not init:
            raise RefNotFound(f"the branch {branch} is missing", place=self._mirror.place)
        return self._writer.create_root(ROOT_FILES, ROOT_MESSAGE)

    # --- whose records they are -------------------------------------------------------------

    async def refresh(self, org: str) -> bool:
        """Read an org's records again: another process may have written them.

        Parked changes of the org are dropped; return whether there were any. Raises GitUnavailable,
        PushRejected or RefNotFound as `sync` does.
        """
        asked = time.monotonic()
        self.lease_lost(org)
        async with self._writing:
            if self._synced_at < asked:
                began = time.monotonic()
                await asyncio.to_thread(self._writer.sync, yields=self._pending.yields)
                self._synced_at = began
            tip = self._writer.tip
            assert tip is not None
            found = await asyncio.to_thread(self._read, tip, org)
            self._orgs[org] = found.get(org, OrgRecords())
            had_parked = self._pending.discard(org)
            if self._writer.waits:
                self._wake()
        return had_parked

    def lease_acquired(self, org: str, lease: LeaseState) -> None:
        """From now on changes of the org's tasks are written, parked ones included."""
        if self._pending.lease_acquired(org, lease):
            self._wake()

    def lease_lost(self, org: str) -> None:
        """Changes of the org's tasks are parked, and commits that are not pushed yet give way to
        those of the next holder (I6)."""
        self._pending.lease_lost(org)

    def _read(self, tip: str, org: str | None = None) -> dict[str, OrgRecords]:
        orgs: dict[str, OrgRecords] = {}
        for stored in records_at(self._mirror, tip, org):
            orgs.setdefault(stored.file.org, OrgRecords()).take(stored)
        today = datetime.now(UTC).date()
        for name in {*orgs, *filter(None, (org,))}:
            self._ledgers.load(tip, name, today)
        return orgs

    async def check(self, remote_tip: str | None) -> None:
        """Synchronize if the remote branch is not at the tip that we pushed."""
        if remote_tip is not None and remote_tip == self._writer.pushed and self.lost is None:
            return
        async with self._writing:
            try:
                await asyncio.to_thread(self._writer.sync, yields=self._pending.yields)
                self.lost = None
            except (PushRejected, RefNotFound) as error:
                self.lost = _lost(error)
            except GitError as error:
                self.problem = error

    @property
    def is_known_here(self) -> bool:
        """Whether the state directory knows the branch."""
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
        """Whether the latest change of a task is on the remote branch."""
        return self._pending.is_pushed((org, task))

    def unwritable(self, org: str) -> dict[str, str]:
        """Why changes of an org were dropped, by task ("" for the org)."""
        return self._pending.unwritable(org)

    @property
    def unpushed_seconds(self) -> float:
        """How long the oldest change has waited to be pushed."""
        since = self._dirty_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def commits(self) -> int:
        """How many commits this process has made."""
        return self._committer.commits

    @property
    def source_revision(self) -> str:
        """The source revision that the next commits name in their trailer."""
        return self._committer.source_revision

    @source_revision.setter
    def source_revision(self, revision: str) -> None:
        self._committer.source_revision = revision

    # --- putting ----------------------------------------------------------------------------

    def put_org(self, record: OrgRecord, verb: str = "org") -> bool:
        """Put an org's record; return whether it differs from the last one."""
        records = self.of(record.org)
        if records.org == record:
            return False
        # Encode first: a record that cannot be encoded must not count as written.
        content = org_content(record)
        records.org = record
        self._change((record.org, ""), verb, {org_record_path(record.org): content})
        return True

    def remove_org(self, org: str) -> None:
        """Delete the record of an org that is gone with all its tasks; tombstones stay."""
        self.of(org).org = None
        self._change((org, ""), "removed", {org_record_path(org): None})

    def put_task(self, record: TaskRecord, artifacts: Mapping[str, bytes]) -> bool:
        """Put a task's record and new `artifacts`; return whether anything differs."""
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
        self._change((record.org, record.task), _verb(record), files)
        return True

    def remove_task(self, org: str, task: str) -> None:
        """Replace the record of a task that left the source branch by its tombstone."""
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
        """Put the record again of a finished task that came back unchanged."""
        self.put_task(restored(removed), {})

    def _change(self, subject: Subject, verb: str, files: Mapping[str, bytes | None]) -> None:
        if self._pending.add(subject, verb, files):
            self._wake()

    # --- writing ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit and push changes, an interval after the first of them; until cancelled."""
        backoff = Backoff(self._interval * 2, MAX_PUSH_RETRY)
        failures = 0
        while True:
            await self._dirty.wait()
            pause = backoff.pause(failures) if failures else self._interval
            await asyncio.sleep(pause.total_seconds())
            failures = 0 if await self.flush() else failures + 1

    async def keep(self) -> None:
        """Commit the changes without pushing them, so that they are on disk."""
        async with self._writing:
            if self.lost is None and self._writer.tip is not None:
                batch, _ = self._pending.take()
                try:
                    await self._commit(batch)
                except Exception:
                    self._pending.put_back(batch)
                    raise

    async def flush(self) -> bool:
        """Commit and push the changes now; return whether all of them were pushed."""
        async with self._writing:
            self._dirty.clear()
            batch, upto = self._pending.take()
            try:
                if self.lost is None:
                    await self._commit(batch)
                    batch = Batch()
                    await asyncio.to_thread(self._writer.push, self._pending.yields)
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
                    self._dirty_since = time.monotonic() if self._dirty.is_set() else None
                    self._pending.mark_pushed(upto)
                    self.on_pushed()
                    return True
            self._pending.put_back(batch)
            self._wake()
            log.warning("status branch: %s", self.lost or self.problem)
            return False

    def _wake(self) -> None:
        """Changes wait to be committed and pushed."""
        self._dirty.set()
        if self._dirty_since is None:
            self._dirty_since = time.monotonic()

    async def _commit(self, batch: Batch) -> None:
        refused = await asyncio.to_thread(self._committer.write, batch)
        for subject, why in refused.items():
            self._pending.drop(subject, why)


def _is_loss(error: GitError) -> bool:
    return isinstance(error, RefNotFound) or "rewritten" in error.message


def _lost(error: GitError) -> Stalled:
    cure = "push it back, or start a new one with guildnet reconciler --init-status"
    return Stalled("StatusBranchLost", f"{error.message}: {cure}")


def _verb(record: TaskRecord) -> str:
    if record.result is not None:
        return record.result.removeprefix("Task") if is_word(record.result) else "Finished"
    # A phase comes from the cluster; the subject of a commit is one line.
    return record.phase if is_word(record.phase) else "Pending"


def _artifact_names(record: TaskRecord) -> list[str]:
    fixed = (*OWN_DOCUMENTS, LOG_TAIL)
    named = (entry.get("name") for entry in record.artifacts if isinstance(entry, Mapping))
    return [*fixed, *(str(name) for name in named if is_artifact_name(name))]
