"""The log of an agent's pod."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from guildnet import kube, labels
from guildnet.conditions import FINISHED, READY, find, is_true
from guildnet.errors import KubeNotFound
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.output import printable

MAX_LOG_BYTES = 16 * 1024 * 1024
#: The artifact with the end of a finished run's log.
RECORDED_LOG = "log_tail.txt"
_POLL_SECONDS = 0.5


async def print_log(
    cluster: OrgCluster,
    task: str,
    report: Callable[[str], None],
    *,
    container: str,
    tail: int | None,
    follow: bool,
) -> bool:
    """Print the log of the task's pod. Returns False, and calls `report`, where it has none.

    With `follow`, waits for the pod of a run that has not finished.
    """
    async with cluster.client() as client:
        while True:
            found = await cluster.find_agent_task(client, task)
            pod, reason = await _pod_of(client, cluster, task, container, found)
            if pod is not None:
                try:
                    await _print(client, pod, container=container, tail=tail, follow=follow)
                except KubeNotFound:
                    return False
                return True
            report(reason)
            if not follow or found is None or _is_finished(found):
                return False
            await asyncio.sleep(_POLL_SECONDS)


async def _print(
    client: kube.KubeClient, pod: str, *, container: str, tail: int | None, follow: bool
) -> None:
    if not follow:
        _write(
            await client.pod_log(pod, container=container, tail_lines=tail, max_bytes=MAX_LOG_BYTES)
        )
        return
    async for piece in client.follow_pod_log(pod, container=container, tail_lines=tail):
        _write(piece)


def _write(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


async def _pod_of(
    client: kube.KubeClient,
    cluster: OrgCluster,
    task: str,
    container: str,
    agent_task: dict[str, Any] | None,
) -> tuple[str | None, str]:
    """The newest pod with a log of `container`; else None and the reason."""
    if agent_task is None:
        return None, f"{cluster.org}/{task} has no AgentTask in {client.place}."
    selector = f"{labels.TASK}={task},{labels.APP_NAME}={labels.AGENT}"
    pods = await client.list_all(kube.PODS, cluster.namespace, label_selector=selector)
    newest = max(pods, key=lambda p: str(p["metadata"]["creationTimestamp"]), default=None)
    if newest is None:
        return None, f"{cluster.org}/{task} has no pod. {_readiness(agent_task)}"
    waiting = waiting_reason(newest, container)
    if waiting is not None:
        return None, f"{cluster.org}/{task} has not started. {waiting or _readiness(agent_task)}"
    return str(newest["metadata"]["name"]), ""


def waiting_reason(pod: dict[str, Any], container: str) -> str | None:
    """Why a container has never run, as the kubelet reports it; None where it has run. Pure."""
    status = pod.get("status", {})
    for container_status in (
        *status.get("initContainerStatuses", ()),
        *status.get("containerStatuses", ()),
    ):
        if container_status["name"] == container:
            waiting = container_status.get("state", {}).get("waiting")
            if waiting is None or container_status.get("lastState"):
                return None
            reason = f"{waiting.get('reason', '')}: {waiting.get('message', '')}".strip(": ")
            return printable(reason)
    return ""


def _is_finished(agent_task: dict[str, Any]) -> bool:
    return is_true(agent_task.get("status", {}).get("conditions", ()), FINISHED)


def _readiness(agent_task: dict[str, Any]) -> str:
    ready = find(agent_task.get("status", {}).get("conditions", ()), READY)
    return printable(f"{ready['reason']}: {ready['message']}") if ready else ""
