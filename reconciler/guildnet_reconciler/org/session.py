"""An org's work in one location: its cluster opened, its Lease held, its AgentTasks listed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from guildnet.errors import (
    ConfigurationError,
    GuildNetError,
    KubeError,
    KubeForbidden,
    KubeNotFound,
)
from guildnet.kube.api_errors import OVERLOADED
from guildnet.outcome import Stalled, Waiting
from guildnet.resources import ClusterRef
from guildnet_reconciler.capacity.shared import Capacity
from guildnet_reconciler.faults import DONE, Fault, StepResult, waiting_for
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.connection import OrgConnection, Watcher
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.settings import Settings

READY_WITHIN = timedelta(seconds=8)
"""How long a pass waits for the Lease and the first list; the Lease reports a hanging API server
6 s after its last answer."""
LEASE_HELD = "LeaseHeld"
"""The reason of an org that another replica works on."""
MAX_MISSED = 500
NOTABLE_LATENESS = timedelta(seconds=1)


class OrgSession:
    """One location at a time.

    `identity` is what the ConfigMap of a namespace must contain for the namespace to be ours.
    `watcher` is set once, before the first `enter`.
    """

    watcher: Watcher

    def __init__(
        self,
        org: str,
        status: StatusWriter,
        settings: Settings,
        metrics: Metrics,
        *,
        capacity: Capacity,
        identity: Mapping[str, str],
    ) -> None:
        self.connection: OrgConnection | None = None
        self._org = org
        self._status = status
        self._settings = settings
        self._metrics = metrics
        self._capacity = capacity
        self._identity = identity
        self._unconfigured: ConfigurationError | None = None
        self._term: str | None = None
        self._must_list = True
        self._missed: dict[str, dict[str, Any]] = {}

    # --- entering and leaving ---------------------------------------------------------------

    async def enter(self, location: ClusterRef) -> StepResult:
        """Hold the Lease in `location`, and know the org's records and AgentTasks."""
        before: str | None = None
        if self.connection is not None and self.connection.is_outdated:
            # Another replica may hold the Lease until the new connection does.
            before = self._term
            await self.leave()
        if self.connection is None:
            try:
                connection = self._open(location)
                self._unconfigured = None
            except ConfigurationError as error:
                self._unconfigured = error
                return StepResult(Stalled("ClusterNotConfigured", str(error)))
            self._term, self._must_list = before, True
            self._missed = {}
            self.watcher.firewall.redact = connection.redact
            try:
                await connection.start(self._settings, self.watcher, self._identity)
            except BaseException:
                await connection.close()
                raise
            self.connection = connection
            self._metrics.set_credential_end(self._org, connection.credential_ends)
        return await self._wait_ready(self.connection)

    async def leave(self) -> None:
        """Release the Lease and close the connections. Records not written yet are from now on
        the next holder's to write."""
        if self.connection is not None:
            await self.connection.close()
            self.connection = None

    def _open(self, location: ClusterRef) -> OrgConnection:
        def count(verb: str, code: int) -> None:
            self._metrics.api_requests.labels(self._org, verb, str(code)).inc()

        return OrgConnection.open(self._settings, self._capacity, self._org, location, count)

    # --- waiting until it is ready ----------------------------------------------------------

    async def _wait_ready(self, connection: OrgConnection) -> StepResult:
        if await connection.wait_held(READY_WITHIN):
            await self._begin_term(connection)
            if await connection.wait_synced(READY_WITHIN):
                return DONE
        if connection.problem is not None:
            return StepResult(waiting_for(connection.problem))
        claimed = connection.claimed_by_others
        if claimed is not None and not connection.held:
            return StepResult.stalled(claimed)
        return StepResult(self._why_not_ready(connection))

    def _why_not_ready(self, connection: OrgConnection) -> Waiting:
        """What a pass waits for. Our own lag is blamed neither on the cluster nor on another
        reconciler."""
        holder = connection.lease.other_holder if connection.lease else None
        late = self._capacity.loop_lag.within(READY_WITHIN.total_seconds())
        if holder is not None and not connection.held:
            return Waiting(LEASE_HELD, f"another reconciler works on this org: {holder}")
        if late >= NOTABLE_LATENESS.total_seconds():
            return Waiting(
                OVERLOADED,
                f"this reconciler was late by {late:.1f} of the last "
                f"{READY_WITHIN.total_seconds():g} s: give it more CPU, or spread the orgs over "
                f"shards",
            )
        if connection.held:
            return Waiting("Listing", "the AgentTasks in the cluster are being listed")
        return Waiting("LeasePending", "the Lease of this org has not been obtained yet")

    async def _begin_term(self, connection: OrgConnection) -> None:
        """Read the records that another replica may have written while it held the Lease, then
        record what the cluster reported meanwhile."""
        assert connection.lease is not None
        term = connection.lease.term
        if term != self._term:
            self._must_list |= await self._status.refresh(self._org)
            self.watcher.lease_acquired(is_first=self._term is None)
        self._status.lease_acquired(self._org, connection.lease)
        self._term = term
        missed, self._missed = self._missed, {}
        if self._must_list:
            await connection.watch(self.watcher)
            self._must_list = False
        else:
            connection.report_again(missed.values(), self.watcher)

    # --- AgentTasks reported without the Lease ----------------------------------------------

    @property
    def holds_lease(self) -> bool:
        """Whether what the cluster reports is ours to record."""
        connection = self.connection
        if connection is None or connection.lease is None:
            return False
        return connection.held and connection.lease.term == self._term

    @property
    def is_left_to_others(self) -> bool:
        """Whether another replica may hold the Lease, and reports on the org."""
        return self.connection is not None and self.connection.is_left_to_others

    def miss(self, obj: Mapping[str, Any]) -> None:
        """Keep an AgentTask that was reported while another process may hold the Lease: it is
        reported again once the Lease is ours. If there are many, all are listed instead."""
        if self._must_list:
            return
        metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
        self._missed[metadata["name"]] = {**obj, "metadata": metadata}
        if len(self._missed) > MAX_MISSED:
            self._must_list, self._missed = True, {}

    def forget(self, task: str) -> None:
        """The AgentTask is gone."""
        self._missed.pop(task, None)

    # --- state ------------------------------------------------------------------------------

    @property
    def active(self) -> OrgConnection:
        """The connection, after `enter` was done."""
        assert self.connection is not None
        return self.connection

    @property
    def location(self) -> ClusterRef | None:
        return self.connection.location if self.connection is not None else None

    @property
    def is_unconfigured(self) -> bool:
        """Whether the cluster has no usable kubeconfig."""
        return self._unconfigured is not None

    @property
    def problem(self) -> GuildNetError | None:
        """Why the org's cluster cannot be used."""
        return self._unconfigured or (self.connection.problem if self.connection else None)

    def fault_of(self, error: KubeError) -> Fault | None:
        """The fault for the org's record; None for an outage, which the record reports of the
        cluster, and for a lost Lease."""
        if isinstance(error, KubeNotFound):
            cure = f"install GuildNet there: guildnet org install {self._org}"
            return Fault("NotInstalled", f"{error.message}: {cure}")
        if isinstance(error, KubeForbidden):
            return Fault.of(error, reason="Forbidden")
        if self.problem is not None or error.reason == "LeaseNotHeld":
            return None
        return Fault.of(error)
