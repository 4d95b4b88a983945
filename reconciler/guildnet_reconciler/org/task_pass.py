"""The tasks of one org's pass: load, plan, guard, apply, prune.

Each step is a module in `steps`, which decides; here the steps are called in order.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from guildnet.errors import KubeError
from guildnet.outcome import Waiting
from guildnet.resources import Org
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.faults import DONE, Fault, StepResult, waiting_for
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.connection import OrgConnection
from guildnet_reconciler.org.situations import Situations
from guildnet_reconciler.org.state import Scope, TaskFindings
from guildnet_reconciler.org.task_apply import TaskApply
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.source.approvals import Approvals
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.source.org_source import OrgSource, SourceTree
from guildnet_reconciler.steps.guard import Guarded, guard_deletions
from guildnet_reconciler.steps.plan import Changeset, Entry, needs_loading, plan
from guildnet_reconciler.steps.prune import prune_entries

log = logging.getLogger(__name__)

SOON = timedelta(milliseconds=200)


@dataclass
class TaskPass:
    """The org is loaded, its cluster ready and claimed.

    `apply` loads, plans and applies the files that have to be read. While a move is held, nothing
    starts or changes: `is_move_held`.
    """

    org: Org
    source: OrgSource
    files: Mapping[str, SourceFile]
    """The tasks that have a file. An org without its own file has none."""
    findings: TaskFindings
    situations: Situations
    connection: OrgConnection
    tree: SourceTree
    approvals: Approvals
    status: StatusWriter
    metrics: Metrics
    threads: ThreadShare
    apply: TaskApply
    in_flight: int
    is_move_held: bool

    async def run(self, scope: Scope) -> StepResult:
        """Make the pass; failures of single tasks are in the findings."""
        names = self._names()
        self._forget_failures(names)
        decided, to_load = self._plan_by_digests(names)
        guarded = await self._guard(self._new_deletions(decided, names))
        ended = None if self.is_move_held else await self.apply.run(to_load)
        if ended is None:
            self.findings.released |= {entry.task for entry in guarded.allowed}
            ended = await self._prune(decided)
            self._forget_removed(decided)
        scope.done = ended is None
        return self._result(ended)

    # --- which tasks ------------------------------------------------------------------------

    @property
    def _is_org_file_missing(self) -> bool:
        return self.source.org_file is None

    def _names(self) -> set[str]:
        """The tasks to look at. A task whose file was not looked for must not seem deleted."""
        if self.source.names is not None and not self._is_org_file_missing:
            return set(self.source.names)
        return {
            *self.source.files,
            *self.connection.inventory.tasks,
            *self.situations.records.recorded,
            *self.findings.held,
            *self.findings.failed,
            *self.findings.quarantined,
        }

    def _forget_failures(self, names: set[str]) -> None:
        for name in names:
            self.findings.failed.pop(name, None)

    # --- plan -------------------------------------------------------------------------------

    def _plan_by_digests(self, names: set[str]) -> tuple[Changeset, dict[str, SourceFile]]:
        """What the digests alone decide, and the files that must be loaded to decide."""
        clear = []
        to_load: dict[str, SourceFile] = {}
        for name in sorted(names):
            if name in self.situations.records.unreadable:
                message = "its record on the status branch cannot be parsed: restore the file"
                self.findings.failed[name] = Fault("RecordUnreadable", message, name)
                continue
            situation = self.situations.of(name)
            if situation.file is not None and needs_loading(self.org, situation):
                to_load[name] = situation.file
            else:
                clear.append(situation)
                self.findings.quarantined.pop(name, None)
        with self.metrics.timed("plan", self.org.name):
            return plan(self.org, clear, datetime.now(UTC)), to_load

    # --- guard ------------------------------------------------------------------------------

    def _new_deletions(self, decided: Changeset, names: set[str]) -> tuple[Entry, ...]:
        """Tasks that left the source branch and that the guard has not released yet. A release
        ends when the task is back, or gone."""
        observed, recorded = self.situations.observed, self.situations.records.recorded
        self.findings.released -= {
            name
            for name in names & self.findings.released
            if name in self.files or not (name in observed or name in recorded)
        }
        removed = decided.having("delete", "forget")
        return tuple(entry for entry in removed if entry.task not in self.findings.released)

    async def _guard(self, deletions: tuple[Entry, ...]) -> Guarded:
        guarded = self._guarded(deletions, set())
        if guarded.held and self.org.prune.enabled:
            with self.metrics.timed("guard", self.org.name):
                approved = await self.threads.run(
                    self.approvals.released_deletions,
                    self.org.name,
                    [hold.task for hold in guarded.held],
                    org_vanished=self._is_org_file_missing,
                )
            guarded = self._guarded(deletions, approved) if approved else guarded
        self.findings.held = {hold.task: hold for hold in guarded.held}
        if guarded.held:
            log.warning(
                "%s deletions held: %s",
                len(guarded.held),
                guarded.held[0].message,
                extra={"org": self.org.name},
            )
        return guarded

    def _guarded(self, deletions: tuple[Entry, ...], approved: set[str]) -> Guarded:
        return guard_deletions(
            deletions,
            org=self.org.name,
            recorded=len(self.situations.records.recorded),
            remaining=0 if self._is_org_file_missing else self.source.remaining,
            policy=self.org.prune,
            org_vanished=self._is_org_file_missing,
            released=approved,
        )

    # --- prune ------------------------------------------------------------------------------

    async def _prune(self, decided: Changeset) -> KubeError | None:
        entries = [entry for entry in decided.having("delete") if self._may_go(entry.task)]
        entries += decided.having("expire")
        if not entries:
            return None
        with self.metrics.timed("prune", self.org.name):
            result = await prune_entries(self.connection.client, entries, in_flight=self.in_flight)
        for task, error in result.refused.items():
            self.findings.failed[task] = Fault.of(error, task)
        for task in result.moved:
            self.findings.failed[task] = Fault("Changed", "it changed while being deleted", task)
        return result.ended

    def _may_go(self, task: str) -> bool:
        """Whether the guard has released the deletion, and the task's file is not back since."""
        if self._is_org_file_missing:
            return task in self.findings.released
        return task in self.findings.released and self.tree.current(self.org.name, task) is None

    def _forget_removed(self, decided: Changeset) -> None:
        """Turn records of tasks that left git and the cluster into tombstones."""
        for entry in decided.having("block"):
            self.findings.failed[entry.task] = Fault(entry.reason, entry.message, entry.task)
        for entry in decided.having("forget"):
            if self._may_go(entry.task):
                self.status.remove_task(self.org.name, entry.task)
                self.findings.released.discard(entry.task)

    # --- result -----------------------------------------------------------------------------

    def _result(self, ended: KubeError | None) -> StepResult:
        if ended is not None:
            fault = None if ended.reason == "LeaseNotHeld" else Fault.of(ended)
            return StepResult(waiting_for(ended), fault, is_transient=fault is not None)
        failed = self.findings.failed
        if any(fault.reason == "Changed" for fault in failed.values()):
            return StepResult(Waiting("Changed", "objects changed while being deleted", SOON))
        if failed:
            first = min(failed.values(), key=lambda fault: fault.task)
            return StepResult(Waiting(first.reason, first.message))
        return DONE
