"""One org, pass by pass: its file, its place, its claim, its tasks, its records, its report.

One of these lives as long as its org does. It is told by its cluster what happens there, and by
the scheduler when to make a pass; it never waits for anything but its own cluster (I3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from heapq import heappush
from typing import Any

from guildnet import labels
from guildnet.errors import (
    ConfigurationError,
    GuildNetError,
    KubeError,
    KubeForbidden,
    KubeNotFound,
)
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.resources import ClusterRef, Org
from guildnet_reconciler.claim import Claim
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.moving import hold_move
from guildnet_reconciler.observed import ObservedTask
from guildnet_reconciler.org_cluster import OrgCluster
from guildnet_reconciler.org_file import load_org, remember
from guildnet_reconciler.org_state import Fault, OrgSource, OrgState, Scope
from guildnet_reconciler.recording import collect, learn, may_go
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source_tree import SourceTree
from guildnet_reconciler.status_branch import StatusBranch
from guildnet_reconciler.steps.report import org_record
from guildnet_reconciler.task_pass import TaskPass, waiting_for

log = logging.getLogger(__name__)

READY_WITHIN = timedelta(seconds=8)
"""How long a pass waits for the Lease and the first list; the Lease names a hanging API server
6 s after its last answer."""


class OrgReconciler:
    """Everything about one org. `wake` asks the scheduler for a pass over a scope."""

    def __init__(
        self,
        name: str,
        *,
        tree: SourceTree,
        status: StatusBranch,
        settings: Settings,
        metrics: Metrics,
        wake: Callable[[Scope], None],
    ) -> None:
        self.state = OrgState(name)
        self._tree = tree
        self._status = status
        self._settings = settings
        self._metrics = metrics
        self._wake = wake
        self._cluster: OrgCluster | None = None
        self._unfit: ConfigurationError | None = None
        self._vanished = False
        self._applying = False
        self._deleting: set[str] = set()
        self._term: str | None = None
        self._missed = True
        self._claim = Claim(self.state, tree, settings.status_branch, status)
        remember(self.state, status.of(name).org)

    # --- the pass ---------------------------------------------------------------------------

    async def run(self, scope: Scope) -> Outcome:
        """Make one pass. Failures become outcomes and the org's report; it raises only bugs."""
        try:
            outcome = await self._steps(scope)
        except KubeError as error:
            self.state.fault = self._fault(error)
            outcome = waiting_for(error)
        except GuildNetError as error:
            self.state.fault = Fault.of(error)
            outcome = Waiting(type(error).__name__, str(error))
        self.report()
        return outcome

    async def _steps(self, scope: Scope) -> Outcome:
        if self._status.lost is not None:
            return self._status.lost
        self.state.fault = None
        scope.tasks |= self.state.take_expired(datetime.now(UTC)) | self.state.held.keys()
        names = None if scope.full or scope.org_file else frozenset(scope.tasks)
        source = await asyncio.to_thread(self._tree.take, self.state.name, names)
        self._vanished = source.org_file is None
        for step in (self._load_org, self._go_to_its_place, self._take_claim):
            outcome = await step(source)
            if not isinstance(outcome, Done):
                return outcome
        outcome = await self._tasks(source, scope)
        await self._records()
        await self._confirm(outcome)
        return outcome

    async def _load_org(self, source: OrgSource) -> Outcome:
        record = self._status.of(self.state.name).org
        return await load_org(self.state, source, record, self._tree)

    async def _go_to_its_place(self, source: OrgSource) -> Outcome:
        org = self._org
        hold = self.state.org_hold = await hold_move(
            org,
            self._status.of(org.name).org,
            tree=self._tree,
            revision=source.revision,
            applied=self.state.applied,
            open_cluster=self._open,
        )
        if hold is not None:
            return Stalled(hold.reason, hold.message)
        if self._cluster is not None and self._cluster.location != org.cluster:
            await self._close_cluster()
        if self._cluster is None:
            try:
                self._cluster = self._open(org.cluster)
                self._unfit = None
            except ConfigurationError as error:
                self._unfit = error
                return Stalled("ClusterNotConfigured", str(error))
            self._term, self._missed = None, True
            self._cluster.start(self._settings, self)
        return await self._take_seat(self._cluster)

    async def _take_seat(self, cluster: OrgCluster) -> Outcome:
        """Hold the Lease, and know all that stands on the status branch and in the cluster."""
        if await cluster.wait_held(READY_WITHIN):
            await self._begin_term(cluster)
            if await cluster.wait_synced(READY_WITHIN):
                return Done()
        if cluster.problem is not None:
            return waiting_for(cluster.problem)
        holder = cluster.lease.other_holder if cluster.lease else None
        return Waiting("LeaseHeld", f"another reconciler works on this org: {holder}")

    async def _begin_term(self, cluster: OrgCluster) -> None:
        """What another replica wrote while it held the Lease comes first, then what the cluster
        told while we did not."""
        assert cluster.lease is not None
        term = cluster.lease.term
        if term != self._term:
            await self._status.refresh(self.state.name)
        self._status.seat(self.state.name)
        self._term = term
        if self._missed:
            self._missed = False
            await cluster.watch(self)

    def _open(self, place: ClusterRef) -> OrgCluster:
        def count(verb: str, code: int) -> None:
            self._metrics.api_requests.labels(self.state.name, verb, str(code)).inc()

        return OrgCluster.open(self._settings, self.state.name, place, count)

    async def _take_claim(self, source: OrgSource) -> Outcome:
        return await self._claim.take(self._org, self._active.client, source)

    async def _confirm(self, outcome: Outcome) -> None:
        """Say that nothing is left open, where that is so; an org that is gone is forgotten."""
        if isinstance(outcome, Done) and not self.state.is_open:
            self.state.applied = self.state.attempted
            await self._claim.write(self._org, self._active.client)
        records = self._status.of(self.state.name)
        if self._vanished and not (records.known or self._active.inventory.tasks):
            await self._active.client.delete(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
            self._status.remove_org(self.state.name)
            await self._close_cluster()
            self.state.org = None

    # --- tasks and records ------------------------------------------------------------------

    async def _tasks(self, source: OrgSource, scope: Scope) -> Outcome:
        if self._org.suspended:
            return Done()
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
            vanished=self._vanished,
            current=lambda task: self._tree.current(self.state.name, task),
            trusted=self._tree.is_trusted,
        )
        return await work.run()

    async def _records(self) -> None:
        """Fetch what is to be recorded, and let go of what is."""
        client = self._active.client
        for name in list(self.state.uncollected):
            if await collect(name, self.state, self._status, client):
                self._wake_dependents(name)
        for name in list(self._deleting):
            observed = self._active.inventory.tasks.get(name)
            if observed is None or observed.deleting is None:
                self._deleting.discard(name)
            elif labels.RECORDED_FINALIZER in observed.finalizers and self._may_go(observed):
                await self._lift_finalizer(observed)

    def _may_go(self, observed: ObservedTask) -> bool:
        return may_go(
            observed,
            self._status.of(self.state.name).known.get(observed.name),
            uncollected=observed.name in self.state.uncollected,
            pushed=self._status.is_pushed(self.state.name, observed.name),
            now=datetime.now(UTC),
        )

    async def _lift_finalizer(self, observed: ObservedTask) -> None:
        kept = [name for name in observed.finalizers if name != labels.RECORDED_FINALIZER]
        patch = {"metadata": {"resourceVersion": observed.resource_version, "finalizers": kept}}
        try:
            await self._active.client.patch(
                AGENT_TASKS, observed.name, patch, field_manager=labels.RECONCILER
            )
        except KubeNotFound:
            self._deleting.discard(observed.name)

    # --- what the cluster tells -------------------------------------------------------------

    def applied(self, obj: dict[str, Any]) -> None:
        """Take in the answer to our own write: it is nothing to plan again for."""
        self._applying = True
        try:
            self._active.take(obj, self)
        finally:
            self._applying = False

    def saw(self, obj: dict[str, Any], task: ObservedTask, before: ObservedTask | None) -> None:
        known = self._status.of(self.state.name).known.get(task.name)
        if not (task.owned or (known is not None and known.uid == task.uid)):
            if self._active.synced and known is not None:
                self._wake(Scope(tasks={task.name}))
            return
        if not self._is_seated:
            self._missed = True  # who holds the Lease records it
        elif learn(obj, self.state, self._status):
            self._wake_dependents(task.name)
        if task.expires_at is not None and (before is None or before.expires_at != task.expires_at):
            heappush(self.state.expiries, (task.expires_at, task.name))
        if task.deleting is not None:
            self._deleting.add(task.name)
        is_news = before is None or not task.plans_as(before)
        if task.name in self.state.uncollected or (is_news and not self._applying):
            self._wake(Scope(tasks={task.name}))

    def lost(self, task: ObservedTask) -> None:
        self._deleting.discard(task.name)
        self._wake(Scope(tasks={task.name}))

    def reached(self, error: KubeError | None) -> None:
        if error is not None and self.state.outage is None:
            log.warning("the cluster does not answer: %s", error, extra={"org": self.state.name})
        self.report()
        if error is None:
            self._wake(Scope())

    def woke(self) -> None:
        self._wake(Scope())

    def unseated(self) -> None:
        """Another may write from now on; what we know of claim and records may be old later."""
        self.state.claimed = None
        self._status.unseat(self.state.name)

    @property
    def _is_seated(self) -> bool:
        """Whether what the cluster tells is ours to record."""
        cluster = self._cluster
        if cluster is None or cluster.lease is None:
            return False
        return cluster.held and cluster.lease.term == self._term

    def recorded(self) -> None:
        """More of what was put is on the remote status branch: finalizers may be waiting for it."""
        if self._deleting:
            self._wake(Scope())

    def _wake_dependents(self, task: str) -> None:
        if self._cluster is not None:
            self._wake(Scope(tasks=set(self._cluster.inventory.dependents_of(task))))

    # --- report -----------------------------------------------------------------------------

    @property
    def problem(self) -> GuildNetError | None:
        """Why the org's cluster cannot be worked with."""
        return self._unfit or (self._cluster.problem if self._cluster else None)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is failed, held or quarantined."""
        return not self.state.is_open and self.problem is None

    @property
    def waits_for_an_end(self) -> bool:
        """Whether a deleted AgentTask is still to be let go."""
        return bool(self._deleting)

    def report(self) -> None:
        """Put the org's record; not where another replica does it."""
        cluster, state = self._cluster, self.state
        others = cluster is not None and not cluster.held and cluster.problem is None
        gone = state.org is None and self._vanished and not state.orphans
        if others or gone or self._status.lost is not None:
            return
        state.repository_faults = self._tree.faults
        problem = self.problem
        if isinstance(problem, (KubeNotFound, KubeForbidden)):
            # It answers; what it says is no outage but something that is not laid out.
            state.fault, problem = self._fault(problem), None
        held_back = state.org_hold is not None or cluster is None
        location = None if held_back else cluster.location if cluster else None
        record = org_record(state, self._status.of(state.name), problem, location)
        unreachable = record.cluster.get("reachable") is False
        state.outage = dict(record.cluster) if unreachable and self._unfit is None else None
        self._status.put_org(record, "cluster unreachable" if unreachable else "org")
        self._measure(record.counts, reachable=not unreachable)

    def _measure(self, counts: Any, *, reachable: bool) -> None:
        name, metrics = self.state.name, self._metrics
        metrics.reachable.labels(name).set(reachable)
        metrics.held.labels(name).set(counts["held"])
        metrics.quarantined.labels(name).set(counts["quarantined"])
        metrics.faults.labels(name).set(len(self.state.failed) + (self.state.fault is not None))

    def _fault(self, error: KubeError) -> Fault | None:
        """What the org's record says of an error; an outage is told of its cluster instead."""
        if isinstance(error, KubeNotFound):
            cure = f"lay it out: guildnet org install {self.state.name}"
            return Fault("NotInstalled", f"{error.message}: {cure}")
        if isinstance(error, KubeForbidden):
            return Fault.of(error, reason="Forbidden")
        if self._active.problem is not None or error.reason == "LeaseNotHeld":
            return None
        return Fault.of(error)

    # --- the cluster ------------------------------------------------------------------------

    @property
    def _org(self) -> Org:
        assert self.state.org is not None
        return self.state.org

    @property
    def _active(self) -> OrgCluster:
        assert self._cluster is not None
        return self._cluster

    async def _close_cluster(self) -> None:
        if self._cluster is not None:
            await self._cluster.close()
            self._cluster = None
            self.state.claimed = None

    async def close(self) -> None:
        """Release the Lease and close the connections."""
        await self._close_cluster()
