"""An org that moves: nothing begins in the new place while the old one still works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from guildnet import labels
from guildnet.errors import ConfigurationError, KubeError
from guildnet.kube import AGENT_TASKS
from guildnet.record import OrgRecord
from guildnet.resources import ClusterRef, Org
from guildnet_reconciler.approvals import approving_commits
from guildnet_reconciler.org_cluster import OrgCluster
from guildnet_reconciler.source_tree import SourceTree
from guildnet_reconciler.steps.guard import Hold, guard_move
from guildnet_reconciler.steps.report import location_of

Open = Callable[[ClusterRef], OrgCluster]


async def hold_move(
    org: Org,
    record: OrgRecord | None,
    *,
    tree: SourceTree,
    revision: str,
    applied: str | None,
    open_cluster: Open,
) -> Hold | None:
    """Why the org may not begin where its file says; None where it may, or is there already."""
    recorded = location_of(record)
    if recorded is None or recorded == org.cluster:
        return None
    approvals = await asyncio.to_thread(
        approving_commits,
        tree.mirror,
        revision,
        since=applied,
        trailer=labels.APPROVE_MOVE,
        org=org.name,
        trusted=tree.is_trusted,
    )
    left = 0 if approvals else await _left_behind(org.name, recorded, open_cluster)
    return guard_move(
        recorded, org.cluster, org=org.name, left_behind=left, approved=bool(approvals)
    )


async def _left_behind(org: str, place: ClusterRef, open_cluster: Open) -> int:
    """How many of the org's AgentTasks the old place has; -1 where it does not answer."""
    try:
        cluster = open_cluster(place)
    except ConfigurationError:
        return -1
    try:
        selector = f"{labels.MANAGED_BY}={labels.RECONCILER},{labels.ORG}={org}"
        return len(await cluster.client.list_all(AGENT_TASKS, label_selector=selector))
    except KubeError:
        return -1
    finally:
        await cluster.close()
