"""An org that moves: nothing begins in the new place while the old one still works."""

from __future__ import annotations

from collections.abc import Iterable

from guildnet.record import OrgRecord
from guildnet.resources import ClusterRef, Org
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.records.location import location_of
from guildnet_reconciler.source.org_source import SourceTree
from guildnet_reconciler.steps.guard import Hold, guard_move
from guildnet_reconciler.steps.observe import ObservedTask


async def place_to_leave(
    org: Org,
    record: OrgRecord | None,
    *,
    tree: SourceTree,
    revision: str,
    applied: str | None,
    threads: ThreadShare,
) -> ClusterRef | None:
    """Where the org is at work still though its file names another place; None where it may begin
    at the place that its file names, or is there already."""
    recorded = location_of(record)
    if recorded is None or recorded == org.cluster:
        return None
    approvals = tree.approvals(revision, applied)
    is_approved = await threads.run(approvals.is_move_approved, org.name)
    return None if is_approved else recorded


def hold_move(
    old: ClusterRef, org: Org, tasks: Iterable[ObservedTask] | None, uids: Iterable[str | None]
) -> Hold | None:
    """Why the org may not leave: its AgentTasks in the old place, of `tasks` those with our label
    or a UID that we recorded. None where there are none; `tasks` None is a place that cannot be
    asked."""
    ours = set(uids)
    left = -1 if tasks is None else sum(1 for task in tasks if task.owned or task.uid in ours)
    return guard_move(old, org.cluster, org=org.name, left_behind=left, approved=False)
