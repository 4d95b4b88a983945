"""Where an org is at work: its cluster opened, its Lease held, and all that is there known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from guildnet.errors import ConfigurationError, GuildNetError
from guildnet.kube.api_errors import OVERLOADED
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.resources import ClusterRef
from guildnet_reconciler.capacity.shared import Capacity
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.connection import OrgConnection, Watcher
from guildnet_reconciler.org.org_file import remember
from guildnet_reconciler.org.state import OrgState
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.settings import Settings

READY_WITHIN = timedelta(seconds=8)
"""How long a pass waits for the Lease and the first list; the Lease names a hanging API server
6 s after its last answer."""
MAX_MISSED = 500
NOTABLE_LATENESS = timedelta(seconds=1)


class OrgSession:
    """One place at a time.

    `identity` is what a namespace's claim must say to be ours. `on_moved` is called when an org
    begins to work elsewhere than before: all of it is to be looked at.
    """

    def __init__(
        self,
        state: OrgState,
        status: StatusWriter,
        settings: Settings,
        metrics: Metrics,
        watcher: Watcher,
        *,
        capacity: Capacity,
        identity: Mapping[str, str],
        on_moved: Callable[[], None],
    ) -> None:
        self.cluster: OrgConnection | None = None
        self._state = state
        self._status = status
        self._settings = settings
        self._metrics = metrics
        self._watcher = watcher
        self._capacity = capacity
        self._identity = identity
        self._on_moved = on_moved
        self._unconfigured: ConfigurationError | None = None
        self._term: str | None = None
        self._must_list = True
        self._missed: dict[str, dict[str, Any]] = {}

    async def settle(self, place: ClusterRef) -> Outcome:
        """Be at work in `place`: hold its Lease, and know all that stands on the status branch
        and in the cluster."""
        if self.cluster is not None and self.cluster.location != place:
            if not await self._status.flush():
                return Waiting("NotRecorded", "what happened in the old place is not recorded yet")
            await self.leave()
            self._on_moved()
        if self.cluster is None:
            try:
                opened = self._open(place)
                self._unconfigured = None
            except ConfigurationError as error:
                self._unconfigured = error
                return Stalled("ClusterNotConfigured", str(error))
            self._term, self._must_list = None, True
            self._missed = {}
            self._watcher.firewall.redact = opened.redact
            try:
                await opened.start(self._settings, self._watcher, self._identity)
            except BaseException:
                await opened.close()
                raise
            self.cluster = opened
        return await self._wait_ready(self.cluster)

    async def _wait_ready(self, cluster: OrgConnection) -> Outcome:
        if await cluster.wait_held(READY_WITHIN):
            await self._begin_term(cluster)
            if await cluster.wait_synced(READY_WITHIN):
                return Done()
        if cluster.problem is not None:
            return waiting_for(cluster.problem)
        claimed = cluster.claimed_by_others
        if claimed is not None and not cluster.held:
            self._state.fault = claimed
            return Stalled(claimed.reason, claimed.message)
        return self._why_not_ready(cluster)

    def _why_not_ready(self, cluster: OrgConnection) -> Waiting:
        """What a pass waits for; what is our own lateness is neither blamed on the cluster nor on
        another reconciler."""
        holder = cluster.lease.other_holder if cluster.lease else None
        late = self._capacity.lateness.within(READY_WITHIN.total_seconds())
        if holder is not None and not cluster.held:
            return Waiting("LeaseHeld", f"another reconciler works on this org: {holder}")
        if late >= NOTABLE_LATENESS.total_seconds():
            return Waiting(
                OVERLOADED,
                f"this reconciler was itself late by {late:.1f} of the last "
                f"{READY_WITHIN.total_seconds():g} s: give it more CPU, or spread the orgs over "
                f"shards",
            )
        if cluster.held:
            return Waiting("Listing", "the AgentTasks in the cluster are being listed")
        return Waiting("LeasePending", "the Lease of this org has not been obtained yet")

    async def _begin_term(self, cluster: OrgConnection) -> None:
        """What another replica wrote while it held the Lease comes first, then what the cluster
        told while we did not. The claim may be another's by now, or gone with its namespace."""
        assert cluster.lease is not None
        name, term = self._state.name, cluster.lease.term
        if term != self._term:
            had_parked = await self._status.refresh(name)
            self._must_list |= had_parked
            self._state.claimed = None
            if self._term is not None:
                remember(self._state, self._status.of(name).org)
        self._status.lease_acquired(name, cluster.lease)
        self._term = term
        if self._must_list:
            await cluster.watch(self._watcher)
            self._must_list = False
            return
        missed, self._missed = self._missed, {}
        try:
            cluster.report_again(missed.values(), self._watcher)
        except BaseException:
            self._missed = {**missed, **self._missed}
            raise

    def _open(self, place: ClusterRef) -> OrgConnection:
        name = self._state.name

        def count(verb: str, code: int) -> None:
            self._metrics.api_requests.labels(name, verb, str(code)).inc()

        return OrgConnection.open(self._settings, self._capacity, name, place, count)

    async def leave(self) -> None:
        """Release the Lease and close the connections. What is not on the status branch yet is
        another's to say from now on; what the guard let go was of this place."""
        if self.cluster is not None:
            await self.cluster.close()
            self.cluster = None
            self._state.claimed = self._state.namespace_uid = None
            self._state.going = set()

    # --- how it stands ----------------------------------------------------------------------

    @property
    def holds_lease(self) -> bool:
        """Whether what the cluster tells is ours to record."""
        cluster = self.cluster
        if cluster is None or cluster.lease is None:
            return False
        return cluster.held and cluster.lease.term == self._term

    def miss(self, obj: Mapping[str, Any]) -> None:
        """Keep an AgentTask that was reported while another may hold the Lease: should the Lease
        be ours again, it is reported again. Many are listed instead."""
        if self._must_list:
            return
        metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
        self._missed[metadata["name"]] = {**obj, "metadata": metadata}
        if len(self._missed) > MAX_MISSED:
            self._must_list, self._missed = True, {}

    def forget(self, task: str) -> None:
        """An AgentTask is gone."""
        self._missed.pop(task, None)

    @property
    def is_unconfigured(self) -> bool:
        """Whether the cluster cannot be asked for want of a kubeconfig."""
        return self._unconfigured is not None

    @property
    def problem(self) -> GuildNetError | None:
        """Why the org's cluster cannot be worked with."""
        return self._unconfigured or (self.cluster.problem if self.cluster else None)


def waiting_for(error: GuildNetError) -> Outcome:
    """What an error of the cluster means for the pass."""
    retry = getattr(error, "retry_after", None)
    reason = getattr(error, "reason", "") or type(error).__name__
    return Waiting(reason, str(error), timedelta(seconds=retry) if retry else None)
