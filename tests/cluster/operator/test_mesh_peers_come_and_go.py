"""The operator on a real API server and a real Headscale: keys in Secrets, no peer without a pod.

The pods' peers are real clients that join with the key in the Secret; a test does the kubelet's
part.
"""

from __future__ import annotations

import asyncio
import base64
import time
from datetime import timedelta
from typing import Any

import pytest
from tests.cluster.operator.conftest import until

from guildnet import labels
from guildnet.kube import AGENT_TASKS, PODS, SECRETS
from guildnet_devcluster.mesh import Mesh
from guildnet_operator.mesh import keeper, ownership

TASKS = 5
#: Less than the 70 s after which Headscale itself removes an ephemeral peer that is away.
AT_MOST = 30.0


@pytest.fixture
async def meshed(org: Any, mesh_server: Mesh) -> Any:
    """The namespace of an org with a mesh, and the credential that its operator uses."""
    host = mesh_server.login_server.removeprefix("https://")
    values = {"api-key": mesh_server.api_key.read_text(), "ca.crt": mesh_server.ca.read_text()}
    metadata = {
        "name": "mesh", "namespace": org.namespace, "labels": {labels.USE: "mesh"},
        "annotations": {labels.HOSTS: host},
    }  # fmt: skip
    await org.admin.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "data": {k: base64.b64encode(v.encode()).decode() for k, v in values.items()},
        }
    )
    login = mesh_server.login_server
    await org.configure(mesh={"mode": "tailscale", "apiSecret": "mesh", "loginServer": login})
    return org


async def key_of(org: Any, task: str) -> str:
    """Wait for the auth key in the Secret of the task's pod."""

    async def look() -> str:
        found = await org.admin.list_all(
            SECRETS, org.namespace, label_selector=f"{labels.TASK}={task}"
        )
        return str(found[0]["data"].get("mesh-auth-key", "")) if found else ""

    return base64.b64decode(await until(look, f"the key of {task}")).decode()


async def joined(mesh: Mesh, org: Any, task: str) -> None:
    """The peer of the task's pod joins, as its mesh container would."""
    key = await key_of(org, task)
    client = mesh.client(f"{task}-acme", proxy_port=0)
    await asyncio.to_thread(client.start)
    try:
        await asyncio.to_thread(client.join, key)
    finally:
        await asyncio.to_thread(client.stop)


async def ended(org: Any, node: Any, task: str) -> None:
    """The AgentTask is deleted with all that it owns, and its pod ends."""
    await org.admin.delete(AGENT_TASKS, task, org.namespace)

    async def look() -> bool:
        selector = f"{labels.TASK}={task}"
        pods = await org.admin.list_all(PODS, org.namespace, label_selector=selector)
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"]:
                await node.gone(pod["metadata"]["name"])
        return not pods

    await until(look, f"{task} is gone")


async def peers(mesh: Mesh, prefix: str) -> set[str]:
    nodes = await asyncio.to_thread(mesh.admin().nodes)
    return {node["name"] for node in nodes if node["name"].startswith(prefix)}


async def are_gone(mesh: Mesh, prefix: str) -> None:
    began = time.monotonic()
    while left := await peers(mesh, prefix):
        assert time.monotonic() - began < AT_MOST, left
        await asyncio.sleep(0.1)


async def test_tasks_in_a_row_leave_no_peer(meshed: Any, node: Any, mesh_server: Mesh) -> None:
    async with meshed.operated():
        for number in range(TASKS):
            name = f"row-{number}"
            await meshed.add(name)
            await node.run_pod(name)
            await joined(mesh_server, meshed, name)
            assert f"{name}-acme" in await peers(mesh_server, "row-")
            # What it owns is collected as garbage later.
            await meshed.admin.delete(AGENT_TASKS, name, meshed.namespace)
        await are_gone(mesh_server, "row-")


async def test_peers_that_a_crash_left_behind_are_removed(
    meshed: Any, node: Any, mesh_server: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two agents, one ends while no operator runs; nothing of it is left in the cluster."""
    for module in (keeper, ownership):
        monkeypatch.setattr(module, "UNSEEN_FOR", timedelta(seconds=1))
    for name in ("left-behind", "left-alive"):
        await meshed.add(name)
    async with meshed.operated():
        for name in ("left-behind", "left-alive"):
            await node.run_pod(name)
            await joined(mesh_server, meshed, name)
    await ended(meshed, node, "left-behind")
    pods = await meshed.admin.list_all(PODS, meshed.namespace)
    assert [pod["metadata"]["labels"][labels.TASK] for pod in pods] == ["left-alive"]
    assert len(await peers(mesh_server, "left-")) == 2
    async with meshed.operated():
        await are_gone(mesh_server, "left-behind")
        assert await peers(mesh_server, "left-") == {"left-alive-acme"}


async def test_a_restart_makes_no_key_for_a_pod_that_has_one(
    meshed: Any, node: Any, mesh_server: Mesh
) -> None:
    """I4: the key in the Secret stays, byte for byte."""
    await meshed.add("kept")
    async with meshed.operated():
        await node.run_pod("kept")
        await meshed.reaches("kept", "Ready", "True", "AgentServing")
        key = await key_of(meshed, "kept")
    async with meshed.operated():
        await meshed.add("newcomer")
        await key_of(meshed, "newcomer")
        assert await key_of(meshed, "kept") == key
