"""Moves an org to the cluster and namespace that its file names.

Nothing starts in the new location while AgentTasks are left in the old one, unless a commit
approves the move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from guildnet.outcome import Stalled, Waiting
from guildnet.record import OrgRecord
from guildnet.resources import ClusterRef, Org
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.faults import StepResult
from guildnet_reconciler.org.claim import Claim
from guildnet_reconciler.org.session import OrgSession
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.records.location import location_of
from guildnet_reconciler.source.org_source import OrgSource, SourceTree
from guildnet_reconciler.steps.guard import Hold, guard_move
from guildnet_reconciler.steps.observe import ObservedTask


class Relocation:
    """Opens the session of one org where its work belongs. `hold` is set while a move is held;
    `on_left` is called after the session has left a location."""

    def __init__(
        self,
        *,
        session: OrgSession,
        claim: Claim,
        tree: SourceTree,
        status: StatusWriter,
        threads: ThreadShare,
        on_left: Callable[[], None],
    ) -> None:
        self.hold: Hold | None = None
        self._session = session
        self._claim = claim
        self._tree = tree
        self._status = status
        self._threads = threads
        self._on_left = on_left

    async def enter(self, org: Org, source: OrgSource) -> StepResult:
        """Open the session in the org's location, or in the old one while the move is held.

        In the old location, the ends of tasks are recorded and nothing starts.
        """
        records = self._status.of(org.name)
        old = await self._unapproved_location(org, records.org, source)
        if old is None:
            self.hold = None
            return await self._enter(org.cluster)
        entered = await self._enter(old)
        tasks = self._session.active.inventory.tasks.values() if entered.is_done else None
        uids = (recorded.uid for recorded in self._status.of(org.name).recorded.values())
        self.hold = hold_move(old, org, tasks, uids)
        if self.hold is not None:
            if self._session.problem is None:
                return entered
            return StepResult(Stalled(self.hold.reason, self.hold.message))
        await self._claim.release(replace(org, cluster=old), self._session.active.client)
        return await self._enter(org.cluster)

    async def _unapproved_location(
        self, org: Org, record: OrgRecord | None, source: OrgSource
    ) -> ClusterRef | None:
        """Where the org still works although its file names another location; None where it may
        work in the location that the file names."""
        recorded = location_of(record)
        if recorded is None or recorded == org.cluster:
            return None
        approvals = self._tree.approvals(source.revision, self._claim.applied)
        is_approved = await self._threads.run(approvals.is_move_approved, org.name)
        return None if is_approved else recorded

    async def _enter(self, location: ClusterRef) -> StepResult:
        current = self._session.location
        if current is not None and current != location:
            if not await self._status.flush():
                message = (
                    f"the org stays in namespace {current.namespace} until what happened there "
                    f"is on the status branch"
                )
                return StepResult(Waiting("NotRecorded", message))
            await self._session.leave()
            self._on_left()
        return await self._session.enter(location)


def hold_move(
    old: ClusterRef, org: Org, tasks: Iterable[ObservedTask] | None, uids: Iterable[str | None]
) -> Hold | None:
    """Why the org may not leave `old`; None where none of its AgentTasks is left there.

    The org's AgentTasks are those of `tasks` that carry our label or a recorded UID. `tasks` is
    None where the cluster cannot be asked.
    """
    ours = set(uids)
    left = -1 if tasks is None else sum(1 for task in tasks if task.owned or task.uid in ours)
    return guard_move(old, org.cluster, org=org.name, left_behind=left, approved=False)
