"""AgentTasks in an org's cluster, as the verbs about one task need them."""

from __future__ import annotations

from typing import Any

from guildnet import kube, labels
from guildnet.errors import KubeNotFound
from guildnet_cli.org_cluster import OrgCluster


async def find_agent_task(
    client: kube.KubeClient, cluster: OrgCluster, task: str
) -> dict[str, Any] | None:
    """The AgentTask; None where the cluster has none, or does not know the kind."""
    try:
        return await client.find(kube.AGENT_TASKS, task, cluster.namespace)
    except KubeNotFound:
        return None


async def release_finalizer(cluster: OrgCluster, task: str) -> str:
    """Take our finalizer off an AgentTask that is being deleted; what came of it.

    One that nobody deletes keeps it: its record is still to be written (I6).
    """
    async with cluster.client() as client:
        found = await find_agent_task(client, cluster, task)
        if found is None:
            return f"{cluster.org}/{task} has gone from the cluster already."
        meta = found["metadata"]
        kept = [f for f in meta.get("finalizers", ()) if f != labels.RECORDED_FINALIZER]
        if "deletionTimestamp" not in meta:
            return f"{cluster.org}/{task} is not being deleted; nothing was changed."
        if kept == meta.get("finalizers", []):
            return f"{cluster.org}/{task} does not wait for its record; nothing was changed."
        patch = {"metadata": {"finalizers": kept, "resourceVersion": meta["resourceVersion"]}}
        await client.patch(
            kube.AGENT_TASKS, task, patch, cluster.namespace, field_manager="guildnet-cli"
        )
        return f"{cluster.org}/{task} released: it goes without its last record."
