"""An agent's log: from its pod while there is one, else its recorded end."""

from __future__ import annotations

import sys
from typing import Any

import typer

from guildnet import kube, labels
from guildnet.conditions import READY, find
from guildnet.errors import ConfigurationError, KubeNotFound
from guildnet.git import Credentials
from guildnet_cli.agents import find_agent_task
from guildnet_cli.org_cluster import OrgCluster
from guildnet_cli.output import printable, say
from guildnet_cli.state_repository import StatusBranch

MAX_LOG_BYTES = 16 * 1024 * 1024
RECORDED_LOG = "log_tail.txt"


async def print_log(
    cluster: OrgCluster, task: str, *, container: str, tail: int | None, follow: bool
) -> bool:
    """Print the log of the task's pod; False where there is no pod, with the reason told."""
    async with cluster.client() as client:
        pod = await _pod_of(client, cluster, task)
        if pod is None:
            return False
        try:
            await _print(client, pod, container=container, tail=tail, follow=follow)
        except KubeNotFound:
            return False
        return True


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


async def _pod_of(client: kube.KubeClient, cluster: OrgCluster, task: str) -> str | None:
    found = await find_agent_task(client, cluster, task)
    if found is None:
        say(f"{cluster.org}/{task} is not in {client.place}.")
        return None
    selector = f"{labels.TASK}={task},{labels.APP_NAME}={labels.AGENT}"
    pods = await client.list_all(kube.PODS, cluster.namespace, label_selector=selector)
    newest = max(pods, key=lambda p: str(p["metadata"]["creationTimestamp"]), default=None)
    if newest is not None:
        return str(newest["metadata"]["name"])
    say(f"{cluster.org}/{task} has no pod. {_why(found)}")
    return None


def _why(agent_task: dict[str, Any]) -> str:
    ready = find(agent_task.get("status", {}).get("conditions", ()), READY)
    return printable(f"{ready['reason']}: {ready['message']}") if ready else ""


def print_recorded(
    org: str, task: str, repo: str | None, branch: str, credentials: Credentials | None
) -> None:
    """Print the end of the log as the status branch has it, and say that it is that."""
    recorded = StatusBranch(repo, branch, credentials).artifact(org, task, RECORDED_LOG)
    if recorded is None:
        raise ConfigurationError(
            "no log can be had: there is no pod, and none is recorded",
            place=f"{org}/{task}",
            cure=f"See how it stands with `guildnet status {org}/{task}`.",
        )
    say("This is the end of the log as the status branch has it.")
    typer.echo(recorded.decode(errors="replace"), nl=False)
