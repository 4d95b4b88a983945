"""First sync of N tasks in one commit, until the last AgentTask exists, beside a bare client."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import (
    BareClient,
    LocalRepository,
    org_file,
    prepare_cluster,
    reconciler,
    task_file,
    until,
)
from guildnet.digest import canonical_json
from guildnet.kube import KubeClient
from guildnet.loading import load_org, load_task
from guildnet.merge import RunRef, agent_task
from guildnet.resources import Source, org_path, task_path
from guildnet_reconciler.main import ReconcilerService

ROUNDS = 2


@dataclass(frozen=True)
class FirstSync:
    """Objects per second, each the best of all rounds."""

    tasks: int
    ours: float
    bare: float

    @property
    def ratio(self) -> float:
        return self.ours / self.bare


def names(count: int) -> list[str]:
    return [f"task-{number:05d}" for number in range(count)]


async def first_sync(kubeconfig: Path, folder: Path, count: int) -> FirstSync:
    """Alternate with the bare client, each time in a new namespace."""
    ours, bare = 0.0, 0.0
    for round_ in range(ROUNDS):
        spaces = {name: f"{name}-{round_}" for name in ("bare", "ours")}
        async with KubeClient.from_kubeconfig(kubeconfig) as client:
            await prepare_cluster(client, spaces.values())
        bare = max(bare, count / await _bare(kubeconfig, spaces["bare"], count))
        took = await _ours(kubeconfig, folder / f"round-{round_}", spaces["ours"], count)
        ours = max(ours, count / took)
    return FirstSync(count, ours, bare)


async def _bare(kubeconfig: Path, namespace: str, count: int) -> float:
    org = load_org(org_file(namespace).encode(), Source(org_path("acme"), "0" * 40, "0" * 40))
    bodies = {}
    for name in names(count):
        source = Source(task_path("acme", name), "0" * 40, "0" * 40)
        task = load_task(task_file(name).encode(), source)
        bodies[name] = canonical_json(agent_task(org, task, RunRef(1)))
    async with BareClient.open(kubeconfig) as client:
        return await client.apply_all(bodies, namespace)


async def _ours(kubeconfig: Path, folder: Path, namespace: str, count: int) -> float:
    repository = LocalRepository(folder / "repository")
    repository.publish(repository.prepare({org_path("acme"): org_file(namespace)}))
    tip = repository.prepare({task_path("acme", name): task_file(name) for name in names(count)})
    async with reconciler(kubeconfig, repository, folder / "state") as running:
        await until(lambda: running.scheduler.is_settled and running.scheduler.is_clean)
        began = repository.publish(tip)
        await until(lambda: _is_recorded(running, count))
        took = time.perf_counter() - began
        await until(lambda: running.scheduler.is_settled)
    return took


def _is_recorded(running: ReconcilerService, count: int) -> bool:
    return len(running.status.of("acme").recorded) >= count
