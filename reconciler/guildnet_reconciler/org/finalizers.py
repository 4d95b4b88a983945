"""AgentTasks that were deleted, until what is known of them is recorded and they may go."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from guildnet import labels
from guildnet.errors import KubeConflict, KubeNotFound
from guildnet.kube import AGENT_TASKS, KubeClient
from guildnet_reconciler.org.connection import OrgConnection
from guildnet_reconciler.org.recorder import is_fully_recorded
from guildnet_reconciler.org.state import OrgState
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.steps.observe import ObservedTask

log = logging.getLogger(__name__)


class Finalizers:
    """The deleted AgentTasks of one org, each held by our finalizer (I6)."""

    def __init__(self, state: OrgState, status: StatusWriter) -> None:
        self._state = state
        self._status = status
        self._names: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._names)

    def add(self, task: str) -> None:
        self._names.add(task)

    def discard(self, task: str) -> None:
        self._names.discard(task)

    async def lift(self, cluster: OrgConnection) -> None:
        """Lift the finalizer of each that has nothing left to tell."""
        for name in list(self._names):
            observed = cluster.inventory.tasks.get(name)
            if observed is None or observed.deleting is None:
                self._names.discard(name)
            elif labels.RECORDED_FINALIZER in observed.finalizers and self._may_lift(observed):
                await self._lift_finalizer(cluster.client, observed)

    def _may_lift(self, observed: ObservedTask) -> bool:
        records = self._status.of(self._state.name)
        return observed.name not in records.unreadable and is_fully_recorded(
            observed,
            records.recorded.get(observed.name),
            awaiting_artifacts=observed.name in self._state.awaiting_artifacts,
            pushed=self._status.is_pushed(self._state.name, observed.name),
            now=datetime.now(UTC),
        )

    async def _lift_finalizer(self, client: KubeClient, observed: ObservedTask) -> None:
        kept = [name for name in observed.finalizers if name != labels.RECORDED_FINALIZER]
        patch = {"metadata": {"resourceVersion": observed.resource_version, "finalizers": kept}}
        try:
            await client.patch(AGENT_TASKS, observed.name, patch, field_manager=labels.RECONCILER)
        except KubeNotFound:
            self._names.discard(observed.name)
        except KubeConflict:
            log.debug("%s changed while it went: looked at again when that is told", observed.name)
