"""Handles what the cluster reports about an org: AgentTasks, liveness, the Lease."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from guildnet.errors import KubeError
from guildnet_reconciler.faults import Firewall
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.claim import Claim
from guildnet_reconciler.org.finalizers import Finalizers
from guildnet_reconciler.org.recorder import Recorder
from guildnet_reconciler.org.session import OrgSession
from guildnet_reconciler.org.state import Expiries, Scope
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.steps.observe import ObservedTask
from guildnet_reconciler.steps.plan import is_renumbered

log = logging.getLogger(__name__)


class Observer:
    """Implements `connection.Watcher`: records what is reported, and asks for passes.

    Every call runs on the event loop, and its defects stay with the org. `report` puts the org's
    record; `report_refusals` does so if refused AgentTasks changed; `remember` reads the record
    again that another process may have written.
    """

    def __init__(
        self,
        name: str,
        *,
        firewall: Firewall,
        session: OrgSession,
        claim: Claim,
        recorder: Recorder,
        finalizers: Finalizers,
        expiries: Expiries,
        status: StatusWriter,
        metrics: Metrics,
        wake: Callable[[Scope], None],
        report: Callable[[], None],
        report_refusals: Callable[[], None],
        remember: Callable[[], None],
    ) -> None:
        self.firewall = firewall
        self._name = name
        self._session = session
        self._claim = claim
        self._recorder = recorder
        self._finalizers = finalizers
        self._expiries = expiries
        self._status = status
        self._metrics = metrics
        self._wake = wake
        self._report = report
        self._report_refusals = report_refusals
        self._remember = remember
        self._is_own_write = False
        self._is_silent = False

    # --- AgentTasks -------------------------------------------------------------------------

    def written(self, obj: dict[str, Any]) -> None:
        """Take the answer to our own write, which needs no new plan."""
        self._is_own_write = True
        try:
            self._session.active.take(obj, self)
        finally:
            self._is_own_write = False

    def observed_changed(
        self, obj: dict[str, Any], task: ObservedTask, before: ObservedTask | None
    ) -> None:
        with self.firewall.around(part_of(task.name)):
            self._observed_changed(obj, task, before)
            return
        if task.owned:
            self._recorder.retry_later(task.name, obj)
            self._wake(Scope(tasks={task.name}))

    def _observed_changed(
        self, obj: dict[str, Any], task: ObservedTask, before: ObservedTask | None
    ) -> None:
        recorded = self._status.of(self._name).recorded.get(task.name)
        if not (task.owned or (recorded is not None and recorded.uid == task.uid)):
            if self._session.active.synced and recorded is not None:
                self._wake(Scope(tasks={task.name}))
            return
        if not self._session.holds_lease:
            self._session.miss(obj)  # the holder of the Lease records it
        elif is_renumbered(task, recorded):
            log.warning("%s: its run was changed to %s in the cluster", task.name, task.run)
        elif self._recorder.record_status(obj):
            self.wake_dependents(task.name)
        if before is None or before.expires_at != task.expires_at:
            self.expect_expiry(task)
        if task.deleting is not None:
            self._finalizers.add(task.name)
        is_new = before is None or task.deleting is not None or not task.plans_as(before)
        if self._recorder.is_awaiting(task.name) or (is_new and not self._is_own_write):
            self._wake(Scope(tasks={task.name}))

    def observed_gone(self, task: ObservedTask) -> None:
        self.firewall.settle(part_of(task.name))
        self._finalizers.discard(task.name)
        self._session.forget(task.name)
        self._recorder.forget(task.name)
        self._wake(Scope(tasks={task.name}))

    def refusals_changed(self) -> None:
        with self.firewall.around("refusals"):
            self._report_refusals()

    def wake_dependents(self, task: str) -> None:
        """Look at the tasks that depend on `task`."""
        if self._session.connection is not None:
            self._wake(Scope(tasks=set(self._session.connection.inventory.dependents_of(task))))

    def expect_expiry(self, task: ObservedTask | None) -> None:
        """Look at the task again when its TTL ends."""
        if task is not None and task.expires_at is not None:
            self._expiries.add(task.expires_at, task.name)

    # --- the cluster and the Lease ----------------------------------------------------------

    def liveness_changed(self, error: KubeError | None) -> None:
        with self.firewall.around("liveness"):
            if error is not None and not self._is_silent:
                log.warning("the cluster does not answer: %s", error, extra={"org": self._name})
            self._is_silent = error is not None
            self._report()
            if error is None:
                self._wake(Scope())

    def resync(self) -> None:
        self._wake(Scope())

    def lease_acquired(self, *, is_first: bool) -> None:
        self._claim.expire()
        if not is_first:
            self._remember()

    def lease_lost(self) -> None:
        """Another process may write from now on: the claim must be read again."""
        connection = self._session.connection
        if connection is not None and not connection.is_closing:
            self._metrics.leases_lost.labels(self._name).inc()
            self._metrics.forget_org(self._name)
        self._claim.expire()
        with self.firewall.around("lost Lease"):
            self._status.lease_lost(self._name)


def part_of(task: str) -> str:
    """The part of the org's work that a defect in handling `task` is noted under."""
    return f"AgentTask {task}"
