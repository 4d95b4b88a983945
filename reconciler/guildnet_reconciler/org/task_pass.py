"""The tasks of one org's pass: load, plan, guard, apply, prune.

Each step is a module in `steps`; here they are called in order, and their outcomes carried on.
What is decided, is decided there; what is remembered between passes is in `OrgState`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from guildnet import conditions, labels
from guildnet.errors import KubeError
from guildnet.git import Mirror
from guildnet.loading import MAX_FILE_BYTES
from guildnet.outcome import Done, Outcome, Waiting
from guildnet.resources import Org
from guildnet_reconciler.capacity.deadline import PassDeadline
from guildnet_reconciler.capacity.shared import LargePasses
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.connection import OrgConnection
from guildnet_reconciler.org.session import waiting_for
from guildnet_reconciler.org.state import OrgState, Scope
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source.approvals import Approvals
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.source.org_source import OrgSource
from guildnet_reconciler.steps.ahead import loaded_ahead
from guildnet_reconciler.steps.apply import Applied, apply_entries
from guildnet_reconciler.steps.chunks import MAX_FILES, chunks_of
from guildnet_reconciler.steps.guard import Guarded, guard_deletions
from guildnet_reconciler.steps.load import Loaded, load_tasks
from guildnet_reconciler.steps.plan import Changeset, Entry, Situation, needs_loading, plan
from guildnet_reconciler.steps.prune import prune_entries

log = logging.getLogger(__name__)

SOON = timedelta(milliseconds=200)


class Learner(Protocol):
    """Who takes in the answers to our own writes."""

    def applied(self, obj: dict[str, Any]) -> None: ...


@dataclass
class TaskPass:
    """The task half of an org's pass: its org is loaded, its cluster ready and claimed."""

    settings: Settings
    metrics: Metrics
    mirror: Mirror
    status: StatusWriter
    state: OrgState
    cluster: OrgConnection
    learner: Learner
    org: Org
    source: OrgSource
    scope: Scope
    deadline: PassDeadline
    threads: ThreadShare
    large_passes: LargePasses
    vanished: bool
    current: Callable[[str], SourceFile | None]
    approvals: Approvals
    held: Callable[[str, str, str], bool]
    """Whether a revision of the followed history (its id) held at a path a blob. Blocks."""

    async def run(self) -> Outcome:
        """Load, plan, guard, apply and prune; failures of single tasks are in the state."""
        names = self._names()
        self._forget_faults(names)
        settled, unclear = self._survey(names)
        guarded = await self._guard(self._undecided(settled, names))
        ended = await self._apply(unclear)
        if ended is None:
            self.state.going |= {entry.task for entry in guarded.allowed}
            ended = await self._prune(settled)
            self._forget(settled)
        self.scope.done = ended is None
        return self._outcome(ended)

    # --- which tasks ------------------------------------------------------------------------

    def _names(self) -> set[str]:
        """What to look at: never a task whose file was not looked for, which would seem gone."""
        if self.source.names is not None and not self.vanished:
            return set(self.source.names)
        records = self.status.of(self.state.name)
        return (
            self.source.files.keys()
            | self.cluster.inventory.tasks.keys()
            | records.recorded.keys()
            | self.state.held.keys()
            | self.state.failed.keys()
            | self.state.quarantined.keys()
        )

    def _forget_faults(self, names: set[str]) -> None:
        for name in names:
            if name not in self.state.awaiting_artifacts:
                self.state.failed.pop(name, None)

    def _survey(self, names: set[str]) -> tuple[Changeset, list[Situation]]:
        """What the digests alone decide, and what has to be read first."""
        clear: list[Situation] = []
        unclear: list[Situation] = []
        unreadable = self.status.of(self.state.name).unreadable
        for name in sorted(names):
            if name in unreadable:
                message = "its record on the status branch cannot be understood: restore the file"
                self.state.failed[name] = Fault("RecordUnreadable", message, name)
                continue
            situation = self._situation(name)
            if needs_loading(self.org, situation):
                unclear.append(situation)
            else:
                clear.append(situation)
                self.state.quarantined.pop(name, None)
        with self._timed("plan"):
            settled = plan(self.org, clear, datetime.now(UTC))
        # While a move is held nothing begins and nothing changes: what ends is let go.
        return settled, [] if self.state.org_hold else unclear

    def _situation(self, name: str, loaded: Loaded | None = None) -> Situation:
        records = self.status.of(self.state.name)
        known, observed = records.recorded.get(name), self.cluster.inventory.tasks.get(name)
        task = loaded.tasks.get(name) if loaded else None
        depends_on: Iterable[str] = observed.depends_on if observed else ()
        if task is not None:
            depends_on = task.spec.get("dependsOn", ())
        return Situation(
            name=name,
            file=self._files.get(name),
            task=task,
            observed=observed,
            recorded=known,
            recorded_uid=known.uid if known else None,
            recorded_blob=known.blob if known else None,
            removed=records.removed.get(name),
            continues=known.continues if known else None,
            dependencies_succeeded=all(self._has_succeeded(name) for name in depends_on),
        )

    def _has_succeeded(self, task: str) -> bool:
        known = self.status.of(self.state.name).recorded.get(task)
        return known is not None and known.result == conditions.TASK_SUCCEEDED

    # --- guard ------------------------------------------------------------------------------

    def _undecided(self, settled: Changeset, names: set[str]) -> tuple[Entry, ...]:
        """Tasks that left the source branch, but for those that the guard let go before. One that
        came back is no such task any more."""
        inventory, known = self.cluster.inventory.tasks, self.status.of(self.state.name).recorded
        self.state.going -= {
            name
            for name in names & self.state.going
            if name in self._files or not (name in inventory or name in known)
        }
        gone = settled.having("delete", "forget")
        return tuple(entry for entry in gone if entry.task not in self.state.going)

    @property
    def _files(self) -> Mapping[str, SourceFile]:
        """The tasks that have a file; without its own file, an org has none."""
        return {} if self.vanished else self.source.files

    async def _guard(self, deletions: tuple[Entry, ...]) -> Guarded:
        if not deletions:
            self.state.held = {}
            return Guarded()
        guarded = self._guarded(deletions, set())
        if guarded.held and self.org.prune.enabled:
            with self._timed("guard"):
                released = await self.threads.run(
                    self.approvals.released_deletions,
                    self.state.name,
                    [hold.task for hold in guarded.held],
                    org_vanished=self.vanished,
                )
            guarded = self._guarded(deletions, released) if released else guarded
        self.state.held = {hold.task: hold for hold in guarded.held}
        for hold in guarded.held[:1]:
            log.warning(
                "%s deletions held: %s",
                len(guarded.held),
                hold.message,
                extra={"org": self.state.name},
            )
        return guarded

    def _guarded(self, deletions: tuple[Entry, ...], released: set[str]) -> Guarded:
        return guard_deletions(
            deletions,
            org=self.state.name,
            recorded=len(self.status.of(self.state.name).recorded),
            remaining=0 if self.vanished else self.source.remaining,
            policy=self.org.prune,
            org_vanished=self.vanished,
            released=released,
        )

    # --- load, apply ------------------------------------------------------------------------

    async def _apply(self, situations: list[Situation]) -> KubeError | None:
        """Load, plan and apply, side by side; why it ended early, where it did."""
        drifted: list[tuple[Entry, dict[str, Any]]] = []

        def on_applied(entry: Entry, obj: dict[str, Any]) -> None:
            self.deadline.progress()
            self.learner.applied(obj)
            if entry.drifted:
                drifted.append((entry, obj))

        files = {s.name: s.file for s in situations if s.file is not None}
        async with self._turn(len(files)):
            with self._timed("apply"):
                result = await self._apply_all(files, on_applied)
        for task, error in result.refused.items():
            self.state.failed[task] = Fault.of(error, task)
        for entry, obj in drifted:
            await self._report_drift(entry, obj)
        return result.ended

    @asynccontextmanager
    async def _turn(self, tasks: int) -> AsyncGenerator[None, None]:
        """A pass over many tasks waits until few others do the same."""
        if tasks <= MAX_FILES:
            yield
            return
        async with AsyncExitStack() as held:
            with self.deadline.paused():
                await held.enter_async_context(self.large_passes.turn(self.cluster.server))
            yield

    async def _apply_all(
        self,
        files: dict[str, SourceFile],
        on_applied: Callable[[Entry, dict[str, Any]], None],
    ) -> Applied:
        async with aclosing(self._entries(files)) as entries:
            return await apply_entries(
                self.cluster.client,
                entries,
                in_flight=min(self.settings.in_flight, len(files)),
                is_current=lambda entry: self.current(entry.task) == files[entry.task],
                on_applied=on_applied,
            )

    async def _entries(self, files: dict[str, SourceFile]) -> AsyncGenerator[Entry, None]:
        """What is to be written, as soon as it is loaded and planned."""
        sizes = await self.threads.run(self._sizes, files)
        async with aclosing(loaded_ahead(chunks_of(files, sizes), self._load)) as chunks:
            async for chunk, loaded in chunks:
                for entry in self._planned(chunk, loaded):
                    yield entry

    def _sizes(self, files: Mapping[str, SourceFile]) -> dict[str, int]:
        blobs = [file.blob for file in files.values()]
        found = zip(blobs, self.mirror.lookups(blobs), strict=True)
        return {blob: info.size for blob, info in found if info is not None}

    async def _load(self, files: dict[str, SourceFile]) -> Loaded:
        with self._timed("load"):
            return await self.threads.run(
                load_tasks,
                files,
                lambda bad: self._last_good(files, bad),
                self.source.revision,
                self._read,
            )

    def _planned(self, files: dict[str, SourceFile], loaded: Loaded) -> tuple[Entry, ...]:
        self._quarantine(loaded, files)
        with self._timed("plan"):
            changes = plan(
                self.org, (self._situation(name, loaded) for name in files), datetime.now(UTC)
            )
        for name, problems in changes.problems.items():
            message = "; ".join(map(str, problems))
            self.state.failed[name] = Fault("InvalidSpec", message, name)
        for removed in changes.restored:
            self.status.restore(removed)
        for entry in changes.having("block"):
            self.state.failed[entry.task] = Fault(entry.reason, entry.message, entry.task)
        return changes.having("create", "update")

    def _last_good(self, files: Mapping[str, SourceFile], names: Iterable[str]) -> dict[str, str]:
        """What stays in force of files that turned out bad: what the quarantine remembers, else
        what the cluster runs or the record was made from, where that file held it. Blocks."""
        known = self.status.of(self.state.name).recorded
        good: dict[str, str] = {}
        for name in names:
            remembered = getattr(self.state.quarantined.get(name), "last_good", None)
            observed = self.cluster.inventory.tasks.get(name)
            hints = (
                (observed.source_revision, observed.source_blob) if observed else ("", ""),
                (
                    getattr(known.get(name), "revision", None),
                    getattr(known.get(name), "blob", None),
                ),
            )
            path = files[name].path
            held = (blob for rev, blob in hints if rev and blob and self.held(rev, path, blob))
            found = remembered or next(held, None)
            if found is not None:
                good[name] = found
        return good

    def _quarantine(self, loaded: Loaded, files: dict[str, SourceFile]) -> None:
        for name in files:
            self.state.quarantined.pop(name, None)
        self.state.quarantined.update(loaded.quarantined)
        for bad in loaded.quarantined.values():
            log.warning("quarantined %s", bad.problems[0], extra={"org": self.state.name})

    async def _report_drift(self, entry: Entry, obj: dict[str, Any]) -> None:
        self.metrics.drift.labels(self.state.name).inc()
        message = entry.message or "it was deleted in the cluster and git still wants it"
        try:
            await self.cluster.client.create_event(
                obj,
                reason="DriftCorrected",
                message=message,
                component=labels.RECONCILER,
                warning=True,
            )
        except KubeError as error:
            log.warning("no event on %s: %s", entry.task, error, extra={"org": self.state.name})

    def _read(self, ids: Iterable[str]) -> Iterator[tuple[str, int, bytes | None]]:
        return self.mirror.read_blobs(ids, max_bytes=MAX_FILE_BYTES)

    # --- prune ------------------------------------------------------------------------------

    async def _prune(self, settled: Changeset) -> KubeError | None:
        entries = [entry for entry in settled.having("delete") if self._is_going(entry.task)]
        entries += settled.having("expire")
        if not entries:
            return None
        with self._timed("prune"):
            result = await prune_entries(
                self.cluster.client, entries, in_flight=self.settings.in_flight
            )
        for task, error in result.refused.items():
            self.state.failed[task] = Fault.of(error, task)
        for task in result.moved:
            self.state.failed[task] = Fault("Changed", "it changed while being deleted", task)
        return result.ended

    def _is_going(self, task: str) -> bool:
        """Whether the guard let it go, and nobody has brought it back since."""
        is_back = not self.vanished and self.current(task) is not None
        return task in self.state.going and not is_back

    def _forget(self, settled: Changeset) -> None:
        """Move records whose task has left both git and the cluster."""
        for entry in settled.having("block"):
            self.state.failed[entry.task] = Fault(entry.reason, entry.message, entry.task)
        for entry in settled.having("forget"):
            if self._is_going(entry.task):
                self.status.remove_task(self.state.name, entry.task)
                self.state.going.discard(entry.task)

    # --- outcome ----------------------------------------------------------------------------

    def _outcome(self, ended: KubeError | None) -> Outcome:
        if ended is not None:
            if ended.reason != "LeaseNotHeld":
                self.state.trouble = Fault.of(ended)
            return waiting_for(ended)
        if any(fault.reason == "Changed" for fault in self.state.failed.values()):
            return Waiting("Changed", "objects changed while being deleted", SOON)
        if self.state.failed:
            fault = min(self.state.failed.values(), key=lambda fault: fault.task)
            return Waiting(fault.reason, fault.message)
        return Done()

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self.metrics.step_seconds.labels(step, self.state.name).observe(took)
