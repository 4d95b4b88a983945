"""An agent's log: from its pod while there is one, else its recorded end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import typer

from guildnet import kube, labels
from guildnet.conditions import FINISHED, READY, find, is_true
from guildnet.errors import KubeNotFound
from guildnet.git import CredentialProvider
from guildnet_cli.agents import find_agent_task
from guildnet_cli.org_cluster import OrgCluster
from guildnet_cli.output import printable, say
from guildnet_cli.state_repository import StatusBranch

MAX_LOG_BYTES = 16 * 1024 * 1024
RECORDED_LOG = "log_tail.txt"
_EACH_LOOK_SECONDS = 0.5


async def print_log(
    cluster: OrgCluster,
    task: str,
    tell: Callable[[str], None],
    *,
    container: str,
    tail: int | None,
    follow: bool,
) -> bool:
    """Print the log of the task's pod; False where there is none, and the reason by `tell`.

    With `follow` the pod of a run that has not ended is waited for.
    """
    async with cluster.client() as client:
        while True:
            found = await find_agent_task(client, cluster, task)
            pod, why = await _pod_of(client, cluster, task, container, found)
            if pod is not None:
                try:
                    await _print(client, pod, container=container, tail=tail, follow=follow)
                except KubeNotFound:
                    return False
                return True
            tell(why)
            if not follow or found is None or _has_ended(found):
                return False
            await asyncio.sleep(_EACH_LOOK_SECONDS)


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
    """The newest pod that has a log of `container`, else None and why there is none."""
    if agent_task is None:
        return None, f"{cluster.org}/{task} is not in {client.place}."
    selector = f"{labels.TASK}={task},{labels.APP_NAME}={labels.AGENT}"
    pods = await client.list_all(kube.PODS, cluster.namespace, label_selector=selector)
    newest = max(pods, key=lambda p: str(p["metadata"]["creationTimestamp"]), default=None)
    if newest is None:
        return None, f"{cluster.org}/{task} has no pod. {_why(agent_task)}"
    waits = waits_for(newest, container)
    if waits is not None:
        return None, f"{cluster.org}/{task} has not started. {waits or _why(agent_task)}"
    return str(newest["metadata"]["name"]), ""


def waits_for(pod: dict[str, Any], container: str) -> str | None:
    """What a container that never ran waits for, as the kubelet says it; None for one that did.

    Pure.
    """
    status = pod.get("status", {})
    for told in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if told["name"] == container:
            waiting = told.get("state", {}).get("waiting")
            if waiting is None or told.get("lastState"):
                return None
            said = f"{waiting.get('reason', '')}: {waiting.get('message', '')}".strip(": ")
            return printable(said)
    return ""


def _has_ended(agent_task: dict[str, Any]) -> bool:
    return is_true(agent_task.get("status", {}).get("conditions", ()), FINISHED)


def _why(agent_task: dict[str, Any]) -> str:
    ready = find(agent_task.get("status", {}).get("conditions", ()), READY)
    return printable(f"{ready['reason']}: {ready['message']}") if ready else ""


def print_recorded(
    org: str, task: str, repo: str | None, branch: str, credentials: CredentialProvider | None
) -> bool:
    """Print the end of the log as the status branch has it, and say so; False without one."""
    recorded = StatusBranch(repo, branch, credentials).artifact(org, task, RECORDED_LOG)
    if recorded is None:
        return False
    say("This is the end of the log as the status branch has it.")
    typer.echo(recorded.decode(errors="replace"), nl=False)
    return True
