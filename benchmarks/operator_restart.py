"""The operator restarted over finished AgentTasks: when it is ready, what that costs, that it
writes nothing; and how soon an AgentTask created then has its objects."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.control_plane import Service, is_ok, running
from benchmarks.environment import IN_FLIGHT, PROMPT, prepare_cluster
from guildnet import conditions, labels
from guildnet.kube import AGENT_TASKS, DEPLOYMENTS, KubeClient

NAMESPACE = "operator-restart"
CHILDREN_SAMPLES = 20
SPEC: dict[str, Any] = {
    "prompt": PROMPT,
    "run": 1,
    "agent": {"preset": "shell", "command": ["sh", "-c", "make test"]},
    "editor": {"enabled": True, "afterFinished": "1h"},
    "timeout": "2h",
}
_WRITES = ("apply", "create", "patch", "delete")  # `update` renews the Lease


@dataclass(frozen=True)
class OperatorRestart:
    """`ready`: seconds; `cpu`: CPU seconds until then; `memory`: MiB; `children`: seconds from the
    creation of an AgentTask to its Deployment, each."""

    tasks: int
    ready: float
    cpu: float
    memory: float
    writes: int
    children: list[float]


async def operator_restart(kubeconfig: Path, state: Path, count: int) -> OperatorRestart:
    """Create `count` finished AgentTasks, and start an operator over them."""
    state.mkdir(parents=True)  # noqa: ASYNC240
    options = ("--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE)
    async with KubeClient.from_kubeconfig(kubeconfig, namespace=NAMESPACE) as client:
        await prepare_cluster(client, [NAMESPACE])
        with running("operator", state, *options, probes=""):
            status = await _finished_status(client)
        turns = asyncio.Semaphore(IN_FLIGHT)
        await asyncio.gather(*(_finished(client, turns, n, status) for n in range(count)))
        with running("operator", state, *options, probes="") as operator:
            ready = await asyncio.to_thread(operator.until, is_ok, "/readyz")
            cpu = operator.cpu()
            await asyncio.to_thread(operator.until, _is_idle, "/metrics")
            memory, writes = operator.memory(), _writes(operator)
            children = [await _sample(client, f"c{n}") for n in range(CHILDREN_SAMPLES)]
    return OperatorRestart(count, ready, cpu, memory, writes, children)


def _task(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {labels.ORG: "acme"}}
    identity = {"apiVersion": labels.API_VERSION, "kind": labels.KIND_AGENT_TASK}
    return {**identity, "metadata": metadata, "spec": {**SPEC, **spec}}


async def _finished_status(client: KubeClient) -> dict[str, Any]:
    """The status of a cancelled AgentTask, as the operator writes it."""
    await client.create(_task("model", cancel=True))
    while True:
        status: dict[str, Any] = (await client.get(AGENT_TASKS, "model")).get("status", {})
        if conditions.is_finished(status, 1):
            return status
        await asyncio.sleep(0.2)


async def _finished(
    client: KubeClient, turns: asyncio.Semaphore, number: int, status: dict[str, Any]
) -> None:
    async with turns:
        made = await client.create(_task(f"t{number:05}", cancel=True))
        name, uid = made["metadata"]["name"], made["metadata"]["uid"]
        child = labels.child_name(name, uid)
        editor = {**status.get("editor", {}), "service": child, "secret": child}
        body = {"status": {**status, "editor": editor}}
        await client.patch(AGENT_TASKS, name, body, subresource="status")


async def _until_children(client: KubeClient, name: str) -> float:
    """Seconds from the creation of an AgentTask until its Deployment exists."""
    began = time.perf_counter()
    made = await client.create(_task(name))
    child = labels.child_name(name, made["metadata"]["uid"])
    async with asyncio.timeout(60):
        while await client.find(DEPLOYMENTS, child) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return time.perf_counter() - began


async def _sample(client: KubeClient, name: str) -> float:
    """`_until_children`; the AgentTask then releases its slot for the next."""
    took = await _until_children(client, name)
    await client.delete(AGENT_TASKS, name)
    return took


def _is_idle(answer: httpx.Response) -> bool:
    return "guildnet_operator_keys 0.0" in answer.text


def _writes(operator: Service) -> int:
    """The operator's writes so far, those of its Lease aside."""
    answer = operator.answer("/metrics")
    assert answer is not None
    found = 0.0
    for line in answer.text.splitlines():
        is_write = any(f'verb="{verb}"' in line for verb in _WRITES)
        if line.startswith("guildnet_operator_api_requests_total") and is_write:
            found += float(line.rpartition(" ")[2])
    return int(found)
