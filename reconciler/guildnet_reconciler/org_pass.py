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
from typing import Any, Protocol

from guildnet import labels
from guildnet.errors import (
    ConfigurationError,
    GuildNetError,
    KubeError,
    KubeForbidden,
    KubeNotFound,
    Problem,
)
from guildnet.git import Mirror
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS, NAMESPACES
from guildnet.loading import MAX_FILE_BYTES, parse_path
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.resources import ClusterRef, Org, Source, org_path
from guildnet_reconciler.approvals import approving_commits
from guildnet_reconciler.claim import claim_data, claim_object, objection
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.observed import ObservedTask
from guildnet_reconciler.org_cluster import OrgCluster
from guildnet_reconciler.org_state import Fault, OrgSource, OrgState, Scope
from guildnet_reconciler.recording import collect, learn, may_go
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.status_branch import StatusBranch
from guildnet_reconciler.steps.diff import SourceFile
from guildnet_reconciler.steps.guard import guard_move
from guildnet_reconciler.steps.load import Quarantined, load_org_file
from guildnet_reconciler.steps.report import location_of, org_record
from guildnet_reconciler.task_pass import TaskPass, waiting_for

log = logging.getLogger(__name__)

READY_WITHIN = timedelta(seconds=8)
"""How long a pass waits for the Lease and the first list; the Lease names a hanging API server
6 s after its last answer."""


class SourceTree(Protocol):
    """The source tree as it is now; implemented by the repository."""

    mirror: Mirror

    @property
    def place(self) -> str: ...
    @property
    def accepted_history(self) -> frozenset[str]: ...
    @property
    def faults(self) -> tuple[Fault, ...]: ...
    def take(self, org: str, names: frozenset[str] | None) -> OrgSource: ...
    def current(self, org: str, task: str) -> SourceFile | None: ...
    def is_trusted(self, commit: str) -> bool: ...


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
        self._remember()

    def _remember(self) -> None:
        """Take up what the status branch says of earlier passes."""
        record = self._status.of(self.state.name).org
        if record is None:
            return
        self.state.attempted, self.state.applied = record.attempted, record.applied
        self.state.namespace_uid = record.namespace_uid
        for entry in record.quarantined:
            problem = Problem(entry["path"], entry.get("line", 0), entry["message"])
            bad = Quarantined("", (problem,), entry.get("lastGoodBlob"))
            identity = parse_path(problem.path)
            if identity is None:
                continue
            if identity.task is None:
                self.state.org_quarantine = bad
            else:
                self.state.quarantined[identity.task] = bad

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
        for step in (self._load_org, self._go_to_its_place, self._claim):
            outcome = await step(source)
            if not isinstance(outcome, Done):
                return outcome
        outcome = await self._tasks(source, scope)
        await self._records()
        await self._confirm(outcome)
        return outcome

    async def _load_org(self, source: OrgSource) -> Outcome:
        file, state = source.org_file, self.state
        state.orphans = 0
        self._vanished = file is None
        if file is None:
            return self._without_file(source)
        known = state.org_quarantine.blob if state.org_quarantine else None
        if state.org is not None and file.blob in (state.org.source.blob, known):
            if file.blob == state.org.source.blob:
                state.org_quarantine = None
            return Done()
        good = state.org.source.blob if state.org else None
        if good is None and state.org_quarantine is not None:
            good = state.org_quarantine.last_good
        org, state.org_quarantine = await asyncio.to_thread(
            load_org_file,
            file,
            good,
            source.revision,
            lambda ids: self._tree.mirror.read_blobs(ids, max_bytes=MAX_FILE_BYTES),
        )
        if org is None:
            return Stalled(
                "OrgInvalid", str(state.org_quarantine and state.org_quarantine.problems)
            )
        state.org = org
        return Done()

    def _without_file(self, source: OrgSource) -> Outcome:
        """An org whose file is gone is known from its record; its tasks are kept (I1)."""
        name = self.state.name
        record = self._status.of(name).org
        location = location_of(record)
        if self.state.org is None and location is None:
            self.state.orphans = source.remaining
            message = f"there is no {org_path(name)} for its {source.remaining} tasks: add it"
            self.state.fault = Fault("OrgMissing", message)
            return Stalled("OrgMissing", message)
        if self.state.org is None and location is not None:
            self.state.org = Org(name, location, {}, Source(org_path(name)))
        return Done()

    async def _go_to_its_place(self, source: OrgSource) -> Outcome:
        org = self._org
        moved = await self._guard_move(org, source)
        if not isinstance(moved, Done):
            return moved
        if self._cluster is not None and self._cluster.location != org.cluster:
            await self._close_cluster()
        if self._cluster is None:
            try:
                self._cluster = self._open(org.cluster)
                self._unfit = None
            except ConfigurationError as error:
                self._unfit = error
                return Stalled("ClusterNotConfigured", str(error))
            self._cluster.start(self._settings, self)
        if await self._cluster.wait_ready(READY_WITHIN):
            return Done()
        if self._cluster.problem is not None:
            return waiting_for(self._cluster.problem)
        lease = self._cluster.lease
        holder = lease.other_holder if lease else None
        return Waiting("LeaseHeld", f"another reconciler works on this org: {holder}")

    async def _guard_move(self, org: Org, source: OrgSource) -> Outcome:
        recorded = location_of(self._status.of(org.name).org)
        self.state.org_hold = None
        if recorded is None or recorded == org.cluster:
            return Done()
        approved = await asyncio.to_thread(self._is_move_approved, source.revision)
        left = 0 if approved else await self._left_behind(recorded)
        hold = guard_move(recorded, org.cluster, org=org.name, left_behind=left, approved=approved)
        self.state.org_hold = hold
        if hold is None:
            self.state.claimed = None
            return Done()
        return Stalled(hold.reason, hold.message)

    def _is_move_approved(self, revision: str) -> bool:
        return bool(
            approving_commits(
                self._tree.mirror,
                revision,
                since=self.state.applied,
                trailer=labels.APPROVE_MOVE,
                org=self.state.name,
                trusted=self._tree.is_trusted,
            )
        )

    async def _left_behind(self, place: ClusterRef) -> int:
        """How many of the org's AgentTasks the old place has; -1 where it does not answer."""
        try:
            cluster = self._open(place)
        except ConfigurationError:
            return -1
        try:
            selector = f"{labels.MANAGED_BY}={labels.RECONCILER},{labels.ORG}={self.state.name}"
            return len(await cluster.client.list_all(AGENT_TASKS, label_selector=selector))
        except KubeError:
            return -1
        finally:
            await cluster.close()

    def _open(self, place: ClusterRef) -> OrgCluster:
        def count(verb: str, code: int) -> None:
            self._metrics.api_requests.labels(self.state.name, verb, str(code)).inc()

        return OrgCluster.open(self._settings, self.state.name, place, count)

    # --- the claim --------------------------------------------------------------------------

    async def _claim(self, source: OrgSource) -> Outcome:
        """Make sure that the namespace is ours, and that nobody has gone beyond this revision."""
        if self.state.claimed is None:
            outcome = await self._look_at_claim(source)
            if not isinstance(outcome, Done):
                return outcome
        if source.key != self.state.key:
            await asyncio.to_thread(self._attempt, source)
        await self._write_claim()
        return Done()

    async def _look_at_claim(self, source: OrgSource) -> Outcome:
        client, namespace = self._active.client, self._org.cluster.namespace
        try:
            found = await client.find(NAMESPACES, namespace)
        except KubeForbidden:
            found = None  # the right to look at namespaces is not needed for work
        uid = found["metadata"]["uid"] if found else None
        existing = await client.find(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
        data = (existing or {}).get("data") or {}
        if existing is not None:
            fault = objection(data, self._claim_data(), namespace)
            if fault is not None:
                self.state.fault = fault
                return Stalled(fault.reason, fault.message)
            overtaken = await asyncio.to_thread(self._overtaken, data.get("attempted"), source)
            if overtaken is not None:
                return overtaken
        elif found and self.state.namespace_uid not in (None, uid):
            await self._tell_replaced(found)
        self.state.namespace_uid = uid
        self.state.claimed = dict(data)
        return Done()

    def _overtaken(self, attempted: str | None, source: OrgSource) -> Outcome | None:
        mirror = self._tree.mirror
        if not attempted or attempted in self._tree.accepted_history:
            return None
        if mirror.is_ancestor(attempted, source.revision):
            return None
        if mirror.is_ancestor(source.revision, attempted):
            return Waiting("Overtaken", f"the cluster has seen {attempted}, which is newer")
        message = (
            f"{attempted}, which the cluster has seen, is not in the history any more: commit with "
            f"the trailer '{labels.ACCEPT_HISTORY}: {attempted}', or push that history back"
        )
        self.state.fault = Fault("HistoryRewritten", message)
        return Stalled("HistoryRewritten", message)

    async def _tell_replaced(self, namespace: dict[str, Any]) -> None:
        involved = {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace["metadata"]}
        message = "the namespace is a new one: the org is laid out in it again from git"
        try:
            await self._active.client.create_event(
                involved, reason="ClusterReplaced", message=message, component=labels.RECONCILER
            )
        except KubeError as error:
            log.warning("no event on namespace: %s", error)

    def _attempt(self, source: OrgSource) -> None:
        """The org's revision is the one in which its file or a task last changed."""
        state, mirror = self.state, self._tree.mirror
        before = state.key
        if before is None and state.attempted and mirror.resolve(state.attempted):
            paths = (org_path(state.name), f"tasks/{state.name}")
            file, tasks = (mirror.tree_id(state.attempted, path) for path in paths)
            before = (file, tasks)
        if before != source.key:
            state.attempted = source.revision
        state.key = source.key

    def _claim_data(self) -> dict[str, str]:
        return claim_data(
            self._org,
            state_repository=self._tree.place,
            status_root=self._settings.status_branch,
            attempted=self.state.attempted,
            applied=self.state.applied,
            namespace_uid=self.state.namespace_uid,
        )

    async def _write_claim(self) -> None:
        data = self._claim_data()
        if data != self.state.claimed:
            obj = claim_object(self._org, data)
            await self._active.client.apply(obj, field_manager=labels.RECONCILER)
            self.state.claimed = data

    async def _confirm(self, outcome: Outcome) -> None:
        """Say that nothing is left open, where that is so; an org that is gone is forgotten."""
        if isinstance(outcome, Done) and not self.state.is_open:
            self.state.applied = self.state.attempted
            await self._write_claim()
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
        if learn(obj, self.state, self._status):
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
            log.warning("cluster of %s: %s", self.state.name, error)
        self.report()
        if error is None:
            self._wake(Scope())

    def woke(self) -> None:
        self._wake(Scope())

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
