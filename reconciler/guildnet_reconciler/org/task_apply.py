"""Loads, plans and applies the tasks of a pass, chunk by chunk and side by side."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from guildnet import labels
from guildnet.errors import KubeError
from guildnet.loading import MAX_FILE_BYTES
from guildnet.resources import Org
from guildnet_reconciler.capacity.deadline import PassDeadline
from guildnet_reconciler.capacity.shared import LargePasses
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.capacity.validation import ValidationShare
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.connection import OrgConnection
from guildnet_reconciler.org.situations import Situations
from guildnet_reconciler.org.state import TaskFindings
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.source.org_source import SourceTree
from guildnet_reconciler.steps.ahead import loaded_ahead
from guildnet_reconciler.steps.apply import Applied, apply_entries
from guildnet_reconciler.steps.chunks import MAX_FILES, chunks_of
from guildnet_reconciler.steps.load import Loaded, load_tasks
from guildnet_reconciler.steps.plan import Entry, plan

log = logging.getLogger(__name__)


@dataclass
class TaskApply:
    """Brings files that need loading into the cluster. `on_written` gets each answer to a write."""

    org: Org
    revision: str
    situations: Situations
    findings: TaskFindings
    connection: OrgConnection
    tree: SourceTree
    status: StatusWriter
    metrics: Metrics
    threads: ThreadShare
    validation: ValidationShare
    deadline: PassDeadline
    large_passes: LargePasses
    in_flight: int
    on_written: Callable[[dict[str, Any]], None]

    async def run(self, files: dict[str, SourceFile]) -> KubeError | None:
        """Load, plan and apply; return the error that ended it early, if one did."""
        drifted: list[tuple[Entry, dict[str, Any]]] = []

        def on_applied(entry: Entry, obj: dict[str, Any]) -> None:
            self.deadline.progress()
            self.on_written(obj)
            if entry.drifted:
                drifted.append((entry, obj))

        async with self._turn(len(files)):
            with self.metrics.timed("apply", self.org.name):
                result = await self._apply(files, on_applied)
        for task, error in result.refused.items():
            self.findings.failed[task] = Fault.of(error, task)
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
                await held.enter_async_context(self.large_passes.turn(self.connection.server))
            yield

    async def _apply(
        self,
        files: dict[str, SourceFile],
        on_applied: Callable[[Entry, dict[str, Any]], None],
    ) -> Applied:
        def is_current(entry: Entry) -> bool:
            return self.tree.current(self.org.name, entry.task) == files[entry.task]

        async with aclosing(self._entries(files)) as entries:
            return await apply_entries(
                self.connection.client,
                entries,
                in_flight=min(self.in_flight, len(files)),
                is_current=is_current,
                on_applied=on_applied,
            )

    async def _entries(self, files: dict[str, SourceFile]) -> AsyncGenerator[Entry, None]:
        """What has to be written, as soon as it is loaded and planned."""
        sizes = await self.threads.run(self._sizes, files)
        load = partial(self._load, sizes)
        async with aclosing(loaded_ahead(chunks_of(files, sizes), load)) as chunks:
            async for chunk, loaded in chunks:
                for entry in self._plan(chunk, loaded):
                    yield entry

    # --- load -------------------------------------------------------------------------------

    def _sizes(self, files: Mapping[str, SourceFile]) -> dict[str, int]:
        blobs = [file.blob for file in files.values()]
        found = zip(blobs, self.tree.mirror.lookups(blobs), strict=True)
        return {blob: info.size for blob, info in found if info is not None}

    async def _load(self, sizes: Mapping[str, int], files: dict[str, SourceFile]) -> Loaded:
        with self.metrics.timed("load", self.org.name):
            return await self.validation.run(
                [sizes.get(file.blob, 0) for file in files.values()],
                load_tasks,
                files,
                lambda bad: self._last_good(files, bad),
                self.revision,
                self._read,
            )

    def _read(self, ids: Iterable[str]) -> Iterator[tuple[str, int, bytes | None]]:
        return self.tree.mirror.read_blobs(ids, max_bytes=MAX_FILE_BYTES)

    def _last_good(self, files: Mapping[str, SourceFile], bad: Iterable[str]) -> dict[str, str]:
        """The blobs that stay in force for bad files. Blocks.

        It is the blob that the quarantine remembers; else the one that the AgentTask or the record
        was made from, if the history holds it at that path.
        """
        good: dict[str, str] = {}
        for name in bad:
            quarantined = self.findings.quarantined.get(name)
            if quarantined is not None and quarantined.last_good is not None:
                good[name] = quarantined.last_good
                continue
            for revision, blob in self._hints(name):
                if revision and blob and self.tree.held(revision, files[name].path, blob):
                    good[name] = blob
                    break
        return good

    def _hints(self, name: str) -> Iterator[tuple[str | None, str | None]]:
        """(revision, blob) that the task was last made from, by the cluster and by the record."""
        observed = self.situations.observed.get(name)
        if observed is not None:
            yield observed.source_revision, observed.source_blob
        recorded = self.situations.records.recorded.get(name)
        if recorded is not None:
            yield recorded.revision, recorded.blob

    # --- plan -------------------------------------------------------------------------------

    def _plan(self, files: dict[str, SourceFile], loaded: Loaded) -> tuple[Entry, ...]:
        self._quarantine(loaded, files)
        situations = (self.situations.of(name, loaded.tasks.get(name)) for name in files)
        with self.metrics.timed("plan", self.org.name):
            changes = plan(self.org, situations, datetime.now(UTC))
        for name, problems in changes.problems.items():
            message = "; ".join(map(str, problems))
            self.findings.failed[name] = Fault("InvalidSpec", message, name)
        for removed in changes.restored:
            self.status.restore(removed)
        for entry in changes.having("block"):
            self.findings.failed[entry.task] = Fault(entry.reason, entry.message, entry.task)
        return changes.having("create", "update")

    def _quarantine(self, loaded: Loaded, files: dict[str, SourceFile]) -> None:
        for name in files:
            self.findings.quarantined.pop(name, None)
        self.findings.quarantined.update(loaded.quarantined)
        for bad in loaded.quarantined.values():
            log.warning("quarantined %s", bad.problems[0], extra={"org": self.org.name})

    # --- drift ------------------------------------------------------------------------------

    async def _report_drift(self, entry: Entry, obj: dict[str, Any]) -> None:
        self.metrics.drift.labels(self.org.name).inc()
        message = entry.message or "created again: it was deleted in the cluster but is in git"
        try:
            await self.connection.client.create_event(
                obj,
                reason="DriftCorrected",
                message=message,
                component=labels.RECONCILER,
                warning=True,
            )
        except KubeError as error:
            log.warning(
                "%s: its Event could not be created: %s",
                entry.task,
                error,
                extra={"org": self.org.name},
            )
