"""`guildnet talos health`: Talos' own checks, and the nodes that Kubernetes calls Ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from guildnet import kube
from guildnet.errors import KubeError, KubeUnavailable
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.talosctl import at_machine
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.output import printable

_POLL = 1.0


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One node as Kubernetes sees it."""

    name: str
    ready: bool
    version: str


async def nodes_of(cluster: OrgCluster) -> list[NodeHealth]:
    """The nodes of a cluster. Raises KubeError."""
    async with cluster.client() as client:
        return [_node(found) for found in await client.list_all(kube.NODES)]


def _node(found: Mapping[str, Any]) -> NodeHealth:
    status = found.get("status", {})
    ready = any(
        c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions", ())
    )
    version = str(status.get("nodeInfo", {}).get("kubeletVersion", ""))
    return NodeHealth(printable(str(found["metadata"]["name"])), ready, printable(version))


def await_nodes(
    cluster: OrgCluster, expected: int, timeout: timedelta, progress: Callable[[str], None]
) -> list[NodeHealth]:
    """Wait until as many nodes are Ready as the org has machines. Raises KubeUnavailable."""
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        nodes: list[NodeHealth] = []
        try:
            nodes = asyncio.run(nodes_of(cluster))
            ready = sum(node.ready for node in nodes)
            said = f"{ready} of {expected} nodes are Ready"
            if ready >= expected and ready == len(nodes):
                return nodes
        except KubeError as error:
            said = f"Kubernetes does not answer yet: {error.message}"
        progress(said)
        if time.monotonic() >= deadline:
            waiting = ", ".join(node.name for node in nodes if not node.ready)
            raise KubeUnavailable(
                f"{said}{f' (not ready: {waiting})' if waiting else ''}",
                place=cluster.org,
                cure="Look at `talosctl dmesg` and `kubectl describe node`; without a CNI plugin "
                "no node becomes Ready.",
            )
        time.sleep(_POLL)


def talos_health(
    cluster: TalosCluster, timeout: timedelta, progress: Callable[[str], None]
) -> None:
    """Talos' own checks of etcd, its services and Kubernetes. Raises TalosError with the check that
    did not pass in time."""
    first = cluster.spec.control_planes[0].address
    limit = timeout + timedelta(seconds=10)
    done = cluster.tool.finished(
        *("health", *at_machine(first), "--wait-timeout", f"{timeout.total_seconds():g}s"),
        *("--control-plane-nodes", ",".join(m.address for m in cluster.spec.control_planes)),
        *("--worker-nodes", ",".join(m.address for m in cluster.spec.workers)),
        timeout=limit,
        progress=progress,
    )
    if done.timed_out or done.status != 0:
        raise cluster.tool.failure(done, "health", limit, first)
