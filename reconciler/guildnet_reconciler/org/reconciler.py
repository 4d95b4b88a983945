"""One org, pass by pass: its file, its place, its claim, its tasks, its records, its report.

One of these lives as long as its org does. It is told by its cluster what happens there, and by
the scheduler when to make a pass; it never waits for anything but its own cluster (I3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from heapq import heappush
from typing import Any

from guildnet.errors import (
    GuildNetError,
    KubeError,
    KubeForbidden,
    KubeNotFound,
    KubeUnavailable,
)
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.record import OrgRecord
from guildnet.resources import Org
from guildnet_reconciler.capacity.deadline import PassDeadline
from guildnet_reconciler.capacity.shared import Capacity
from guildnet_reconciler.faults import INTERNAL_ERROR, Fault, Firewall, pass_on_requested_end
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.claim import Claim
from guildnet_reconciler.org.connection import LEASE, WATCH, OrgConnection
from guildnet_reconciler.org.finalizers import Finalizers
from guildnet_reconciler.org.org_file import is_gone, load_org, remember
from guildnet_reconciler.org.recorder import record_status, record_with_artifacts
from guildnet_reconciler.org.relocation import hold_move, place_to_leave
from guildnet_reconciler.org.report import org_record
from guildnet_reconciler.org.session import OrgSession, waiting_for
from guildnet_reconciler.org.state import OrgState, Scope
from guildnet_reconciler.org.task_pass import TaskPass
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source.org_source import OrgSource, SourceTree
from guildnet_reconciler.steps.observe import ObservedTask
from guildnet_reconciler.steps.plan import is_renumbered

log = logging.getLogger(__name__)

PASS, REMEMBERING = "pass", "taking up its record"


class OrgReconciler:
    """Everything about one org. `wake` asks the scheduler for a pass over a scope."""

    def __init__(
        self,
        name: str,
        *,
        tree: SourceTree,
        status: StatusWriter,
        settings: Settings,
        metrics: Metrics,
        capacity: Capacity,
        wake: Callable[[Scope], None],
    ) -> None:
        self.state = OrgState(name)
        self._tree = tree
        self._status = status
        self._settings = settings
        self._metrics = metrics
        self._capacity = capacity
        self._threads = capacity.threads.share()
        self._wake = wake
        self.firewall = Firewall(name, self._report_defects)
        self._place = OrgSession(
            self.state,
            status,
            settings,
            metrics,
            self,
            capacity=capacity,
            identity={
                "org": name,
                "stateRepository": tree.place,
                "statusRoot": settings.status_branch,
            },
            on_moved=lambda: wake(Scope(full=True)),
        )
        self._vanished = False
        self._applying = False
        self._departures = Finalizers(self.state, status)
        self._claim = Claim(self.state, tree, settings.status_branch, status, self._threads)
        self._is_remembered = False
        with self.firewall.around(REMEMBERING):
            self._remember()

    def _remember(self) -> None:
        remember(self.state, self._status.of(self.state.name).org)
        self._is_remembered = True

    # --- the pass ---------------------------------------------------------------------------

    async def run(self, scope: Scope, deadline: PassDeadline) -> Outcome:
        """Make one pass. Failures become outcomes and the org's report, defects included."""
        outcome: Outcome | None = None
        with self.firewall.around(PASS):
            outcome = await self._pass(scope, deadline)
        if outcome is None:
            scope.full = True  # which tasks it had taken up may not be known
        else:
            still = map(_part_of, self.state.awaiting_artifacts)
            self.firewall.settle_all_but({*self._unproven(), *still})
            if not self.firewall.faults or not isinstance(outcome, Done):
                return outcome
        return Waiting(INTERNAL_ERROR, "; ".join(f.message for f in self.firewall.faults))

    def _unproven(self) -> set[str]:
        """The parts beside the passes that are not known to work again."""
        cluster = self._place.cluster
        works = {LEASE: cluster is not None and cluster.held}
        works[WATCH] = cluster is not None and cluster.synced
        return {part for part, is_well in works.items() if not is_well}

    async def _pass(self, scope: Scope, deadline: PassDeadline) -> Outcome:
        if not self._is_remembered:
            self._remember()
            self.firewall.settle(REMEMBERING)
        before, self.state.trouble = self.state.trouble, None
        try:
            outcome = await self._steps(scope, deadline)
        except KubeUnavailable as error:
            self.state.trouble = self._fault(error)
            outcome = waiting_for(error)
        except KubeError as error:
            self.state.fault = self._fault(error)
            outcome = waiting_for(error)
        except GuildNetError as error:
            self.state.fault = Fault.of(error)
            outcome = waiting_for(error)
        if before is not None and self.state.trouble is not None:
            self.state.fault = self.state.trouble  # once is no news, twice is
        self.report()
        return outcome

    async def _steps(self, scope: Scope, deadline: PassDeadline) -> Outcome:
        if self._status.lost is not None:
            return self._status.lost
        self.state.fault = None
        scope.tasks |= self.state.take_expired(datetime.now(UTC)) | self.state.held.keys()
        names = None if scope.full or scope.org_file else frozenset(scope.tasks)
        source = await self._threads.run(self._tree.take, self.state.name, names)
        scope.cover(source.names)
        self._vanished = source.org_file is None
        if is_gone(self.state, source, self._status.of(self.state.name)):
            return self._forget()
        for step in (self._load_org, self._go_to_its_place, self._take_claim):
            outcome = await step(source)
            if not isinstance(outcome, Done):
                return outcome
        outcome = await self._tasks(source, scope, deadline)
        await self._records()
        outcome = await self._confirm(outcome)
        hold = self.state.org_hold
        return outcome if hold is None else Stalled(hold.reason, hold.message)

    def _forget(self) -> Outcome:
        self.state.orphans = 0
        if self._status.of(self.state.name).org is not None:
            self._status.remove_org(self.state.name)
        return Done()

    async def _load_org(self, source: OrgSource) -> Outcome:
        record = self._status.of(self.state.name).org
        return await load_org(self.state, source, record, self._tree, self._threads)

    async def _go_to_its_place(self, source: OrgSource) -> Outcome:
        """While a move is held the org stays where it is: what ends there is recorded and let go,
        nothing begins."""
        wanted, records = self._in_force, self._status.of(self.state.name)
        old = await place_to_leave(
            wanted,
            records.org,
            tree=self._tree,
            revision=source.revision,
            applied=self.state.applied,
            threads=self._threads,
        )
        if old is not None:
            outcome = await self._place.settle(old)
            is_known = isinstance(outcome, Done)
            tasks = self._active.inventory.tasks.values() if is_known else None
            uids = (known.uid for known in records.recorded.values())
            hold = self.state.org_hold = hold_move(old, wanted, tasks, uids)
            if hold is not None and self._place.problem is None:
                return outcome
            if hold is not None:
                return Stalled(hold.reason, hold.message)
            await self._claim.release(self._org, self._active.client)
        self.state.org_hold = None
        return await self._place.settle(wanted.cluster)

    async def _take_claim(self, source: OrgSource) -> Outcome:
        return await self._claim.take(self._org, self._active.client, source)

    async def _confirm(self, outcome: Outcome) -> Outcome:
        """Say that nothing is left open, where that is so; an org that is gone is forgotten."""
        is_all_done = isinstance(outcome, Done) and not (self.state.is_open or self.state.going)
        if is_all_done and not self._org.suspended:
            self.state.applied = self.state.attempted
            await self._claim.write(self._org, self._active.client)
        records = self._status.of(self.state.name)
        if self._vanished and not (records.recorded or self._active.inventory.tasks):
            if not await self._status.flush():
                return Waiting("NotRecorded", "its tasks' tombstones are not recorded yet")
            await self._claim.release(self._org, self._active.client)
            self._status.remove_org(self.state.name)
            await self._place.leave()
            self.state.org = None
        return outcome

    # --- tasks and records ------------------------------------------------------------------

    async def _tasks(self, source: OrgSource, scope: Scope, deadline: PassDeadline) -> Outcome:
        if self._org.suspended:
            return Done()
        if source.problem is not None:
            self.state.fault = Fault("TasksUnreadable", str(source.problem))
            return Stalled("TasksUnreadable", str(source.problem))
        work = TaskPass(
            settings=self._settings,
            metrics=self._metrics,
            mirror=self._tree.mirror,
            status=self._status,
            state=self.state,
            cluster=self._active,
            learner=self,
            org=self._org,
            source=source,
            scope=scope,
            deadline=deadline,
            threads=self._threads,
            large_passes=self._capacity.large_passes,
            vanished=self._vanished,
            current=lambda task: self._tree.current(self.state.name, task),
            approvals=self._tree.approvals(source.revision, self.state.applied),
            held=self._tree.held,
        )
        return await work.run()

    async def _records(self) -> None:
        """Fetch what is to be recorded, and let go of what is."""
        client = self._active.client
        for name in list(self.state.awaiting_artifacts):
            with self.firewall.around(_part_of(name), passes=(GuildNetError,)):
                if await record_with_artifacts(name, self.state, self._status, client):
                    self._wake_dependents(name)
                self._expect_expiry(self._active.inventory.tasks.get(name))
        await self._departures.lift(self._active)

    def _expect_expiry(self, task: ObservedTask | None) -> None:
        if task is not None and task.expires_at is not None:
            heappush(self.state.expiries, (task.expires_at, task.name))

    # --- what the cluster tells -------------------------------------------------------------

    def applied(self, obj: dict[str, Any]) -> None:
        """Take in the answer to our own write: it is nothing to plan again for."""
        self._applying = True
        try:
            self._active.take(obj, self)
        finally:
            self._applying = False

    def observed_changed(
        self, obj: dict[str, Any], task: ObservedTask, before: ObservedTask | None
    ) -> None:
        with self.firewall.around(_part_of(task.name)):
            self._observed_changed(obj, task, before)
            return
        if task.owned:
            self.state.awaiting_artifacts[task.name] = obj  # the next pass tries again to record it
            self._wake(Scope(tasks={task.name}))

    def _observed_changed(
        self, obj: dict[str, Any], task: ObservedTask, before: ObservedTask | None
    ) -> None:
        known = self._status.of(self.state.name).recorded.get(task.name)
        if not (task.owned or (known is not None and known.uid == task.uid)):
            if self._active.synced and known is not None:
                self._wake(Scope(tasks={task.name}))
            return
        if not self._place.holds_lease:
            self._place.miss(obj)  # who holds the Lease records it
        elif is_renumbered(task, known):
            log.warning("%s was given run %s by somebody", task.name, task.run)
        elif record_status(obj, self.state, self._status):
            self._wake_dependents(task.name)
        if before is None or before.expires_at != task.expires_at:
            self._expect_expiry(task)
        if task.deleting is not None:
            self._departures.add(task.name)
        is_news = before is None or task.deleting is not None or not task.plans_as(before)
        if task.name in self.state.awaiting_artifacts or (is_news and not self._applying):
            self._wake(Scope(tasks={task.name}))

    def observed_gone(self, task: ObservedTask) -> None:
        self.firewall.settle(_part_of(task.name))
        self._departures.discard(task.name)
        self._place.forget(task.name)
        self.state.unrecorded.pop(task.name, None)
        self._wake(Scope(tasks={task.name}))

    def liveness_changed(self, error: KubeError | None) -> None:
        with self.firewall.around("liveness"):
            self._liveness_changed(error)

    def _liveness_changed(self, error: KubeError | None) -> None:
        if error is not None and self.state.outage is None:
            log.warning("the cluster does not answer: %s", error, extra={"org": self.state.name})
        self.report()
        if error is None:
            self._wake(Scope())

    def resync(self) -> None:
        self._wake(Scope())

    def lease_lost(self) -> None:
        """Another may write from now on; what we know of claim and records may be old later."""
        if self._place.cluster is not None and not self._place.cluster.is_closing:
            self._metrics.leases_lost.labels(self.state.name).inc()
        self.state.claimed = None
        with self.firewall.around("lost Lease"):
            self._status.lease_lost(self.state.name)

    def records_pushed(self) -> None:
        """More of what was put is on the remote status branch: finalizers may be waiting for it."""
        with self.firewall.around("records"):
            if self._departures:
                self._wake(Scope())
            self.refusals_changed()

    def refusals_changed(self) -> None:
        with self.firewall.around("refusals"):
            if self._refused() != self.state.refused:
                self.report()

    def _wake_dependents(self, task: str) -> None:
        if self._place.cluster is not None:
            self._wake(Scope(tasks=set(self._place.cluster.inventory.dependents_of(task))))

    # --- report -----------------------------------------------------------------------------

    @property
    def is_clean(self) -> bool:
        """Whether nothing is failed, held or quarantined."""
        with self.firewall.around("state"):
            is_open = self.state.is_open or self.state.misplaced
            return not is_open and self._place.problem is None
        return False

    @property
    def waits_for_an_end(self) -> bool:
        """Whether a deleted AgentTask is still to be let go."""
        return bool(self._departures)

    def report(self) -> None:
        """Put the org's record; not where another replica does it."""
        with self.firewall.around("report"):
            self._report()

    def _report_defects(self) -> None:
        """Put the record after a defect. Where none can be made, the last one with the defect."""
        try:
            self._report()
        except BaseException as error:
            pass_on_requested_end(error)
            before = self._status.of(self.state.name).org or OrgRecord(self.state.name)
            faults = tuple(fault.to_json() for fault in self.firewall.faults)
            self._status.put_org(replace(before, faults=faults))
            self._metrics.faults.labels(self.state.name).set(len(faults))

    def _report(self) -> None:
        if not self._is_remembered:
            raise LookupError("the org's record could not be taken up")
        cluster, state = self._place.cluster, self.state
        state.defects = self.firewall.faults
        others = cluster is not None and cluster.is_left_to_others and not state.defects
        gone = state.org is None and self._vanished and not state.orphans
        if others or gone or self._status.lost is not None:
            return
        state.misplaced = self._tree.faults_of(state.name)
        state.repository_faults = (*self._tree.faults, *state.misplaced)
        state.refused = self._refused()
        problem = self._place.problem
        if isinstance(problem, (KubeNotFound, KubeForbidden)):
            # It answers; what it says is no outage but something that is not laid out.
            state.fault, problem = self._fault(problem), None
        is_claimed = cluster is not None and state.claimed is not None
        location = cluster.location if cluster is not None and is_claimed else None
        record = org_record(state, self._status.of(state.name), problem, location)
        unreachable = record.cluster.get("reachable") is False
        is_outage = unreachable and not self._place.is_unconfigured
        state.outage = dict(record.cluster) if is_outage else None
        self._status.put_org(record, "cluster unreachable" if unreachable else "org")
        self._measure(record.counts, reachable=not unreachable)

    def _refused(self) -> tuple[Fault, ...]:
        """What was not taken of the cluster's AgentTasks, and what could not be written."""
        seen = self._place.cluster.inventory.refused if self._place.cluster is not None else {}
        lost = self._status.unwritable(self.state.name)
        return (
            *(Fault("NotUnderstood", f"AgentTask {n}: {seen[n]}", n) for n in sorted(seen)),
            *(Fault("NotWritten", lost[task], task) for task in sorted(lost)),
        )

    def _measure(self, counts: Any, *, reachable: bool) -> None:
        name, metrics = self.state.name, self._metrics
        metrics.reachable.labels(name).set(reachable)
        metrics.held.labels(name).set(counts["held"])
        metrics.quarantined.labels(name).set(counts["quarantined"])
        metrics.faults.labels(name).set(
            len(self.state.failed) + len(self.state.defects) + (self.state.fault is not None)
        )

    def _fault(self, error: KubeError) -> Fault | None:
        """What the org's record says of an error; an outage is told of its cluster instead."""
        if isinstance(error, KubeNotFound):
            cure = f"lay it out: guildnet org install {self.state.name}"
            return Fault("NotInstalled", f"{error.message}: {cure}")
        if isinstance(error, KubeForbidden):
            return Fault.of(error, reason="Forbidden")
        if self._place.problem is not None or error.reason == "LeaseNotHeld":
            return None
        return Fault.of(error)

    # --- the cluster ------------------------------------------------------------------------

    @property
    def _in_force(self) -> Org:
        assert self.state.org is not None
        return self.state.org

    @property
    def _org(self) -> Org:
        """The org in force, in the place where it is at work."""
        org, cluster = self._in_force, self._active
        return org if cluster.location == org.cluster else replace(org, cluster=cluster.location)

    @property
    def _active(self) -> OrgConnection:
        assert self._place.cluster is not None
        return self._place.cluster

    async def close(self) -> None:
        """Release the Lease and close the connections."""
        await self._place.leave()


def _part_of(task: str) -> str:
    return f"AgentTask {task}"
