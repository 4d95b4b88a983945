"""Keeps deleted AgentTasks, through our finalizer, until their end is recorded (I6)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from guildnet import labels
from guildnet.errors import KubeConflict, KubeNotFound
from guildnet.kube import AGENT_TASKS, KubeClient
from guildnet_reconciler.org.connection import OrgConnection
from guildnet_reconciler.org.recorder import Recorder
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.records.org_records import RecordedRun
from guildnet_reconciler.steps.observe import ObservedTask

log = logging.getLogger(__name__)

UNREPORTED_GRACE = timedelta(seconds=180)
"""How long a deleted AgentTask is kept for an operator that reports nothing about it: the pod's
120 s grace period, and time to report."""


class Finalizers:
    """The deleted AgentTasks of one org."""

    def __init__(self, org: str, status: StatusWriter, recorder: Recorder) -> None:
        self._org = org
        self._status = status
        self._recorder = recorder
        self._names: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._names)

    def add(self, task: str) -> None:
        self._names.add(task)

    def discard(self, task: str) -> None:
        self._names.discard(task)

    async def lift(self, connection: OrgConnection) -> None:
        """Remove the finalizer from each AgentTask that is fully recorded."""
        for name in list(self._names):
            observed = connection.inventory.tasks.get(name)
            if observed is None or observed.deleting is None:
                self._names.discard(name)
            elif labels.RECORDED_FINALIZER in observed.finalizers and self._may_lift(observed):
                await self._lift(connection.client, observed)

    def _may_lift(self, observed: ObservedTask) -> bool:
        records = self._status.of(self._org)
        return observed.name not in records.unreadable and is_fully_recorded(
            observed,
            records.recorded.get(observed.name),
            awaiting_artifacts=self._recorder.is_awaiting(observed.name),
            pushed=self._status.is_pushed(self._org, observed.name),
            now=datetime.now(UTC),
        )

    async def _lift(self, client: KubeClient, observed: ObservedTask) -> None:
        kept = [name for name in observed.finalizers if name != labels.RECORDED_FINALIZER]
        patch = {"metadata": {"resourceVersion": observed.resource_version, "finalizers": kept}}
        try:
            await client.patch(AGENT_TASKS, observed.name, patch, field_manager=labels.RECONCILER)
        except KubeNotFound:
            self._names.discard(observed.name)
        except KubeConflict:
            log.debug("%s has changed: tried again when the watch reports it", observed.name)


def is_fully_recorded(
    observed: ObservedTask,
    recorded: RecordedRun | None,
    *,
    awaiting_artifacts: bool,
    pushed: bool,
    now: datetime,
) -> bool:
    """Whether the record holds all that a deleted AgentTask reports, or will ever report."""
    if observed.deleting is None or awaiting_artifacts or not pushed:
        return False
    if recorded is not None and recorded.run == observed.run and recorded.result is not None:
        return True
    return not observed.started or now - observed.deleting > UNREPORTED_GRACE
