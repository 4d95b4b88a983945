"""How long a change of one task takes, from the update of the ref until a watch sees the object;
and how long a commit that changes no resource takes, which must write nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import (
    BareClient,
    LocalRepository,
    org_file,
    prepare_cluster,
    reconciler,
    requests,
    task_file,
    until,
)
from benchmarks.first_sync import names
from guildnet.kube import KubeClient
from guildnet.resources import org_path, task_path
from guildnet_reconciler.main import ReconcilerService

NAMESPACE = "changes"
IRRELEVANT = 10


@dataclass(frozen=True)
class OneChange:
    """Milliseconds of each sample of both kinds, and what the irrelevant commits wrote."""

    tasks: int
    changed: tuple[float, ...]
    irrelevant: tuple[float, ...]
    api_requests: int
    status_commits: int


def percentile(samples: Sequence[float], percent: int) -> float:
    """The smallest sample that is not below `percent` of them (nearest rank)."""
    ordered = sorted(samples)
    return ordered[-(-len(ordered) * percent // 100) - 1]


async def one_change(
    kubeconfig: Path, repository: LocalRepository, state: Path, count: int, samples: int
) -> OneChange:
    """Sync a new repository of `count` tasks to `NAMESPACE`, then measure both."""
    files = {task_path("acme", name): task_file(name) for name in names(count)}
    repository.publish(repository.prepare({org_path("acme"): org_file(NAMESPACE), **files}))
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        await prepare_cluster(client, [NAMESPACE])
    async with (
        reconciler(kubeconfig, repository, state) as running,
        BareClient.open(kubeconfig) as bare,
    ):
        await until(lambda: len(running.status.of("acme").recorded) >= count)
        await _until_idle(running)
        changed = await _changes(repository, bare, count, samples)
        await _until_idle(running)
        before = requests(running), running.status.commits
        irrelevant = await _irrelevant(repository, running)
        await _until_idle(running)
        after = requests(running), running.status.commits
    return OneChange(
        count, tuple(changed), tuple(irrelevant), after[0] - before[0], after[1] - before[1]
    )


async def _until_idle(running: ReconcilerService) -> None:
    """Wait until the scheduler is idle, and push the last batch of status commits."""
    await until(lambda: running.scheduler.is_settled)
    await asyncio.sleep(running.settings.status_interval.total_seconds() * 1.5)
    await running.status.flush()


async def _changes(
    repository: LocalRepository, bare: BareClient, count: int, samples: int
) -> list[float]:
    seen: dict[str, float] = {}

    def on_event(event: dict[str, dict[str, dict[str, str]]]) -> None:
        seen.setdefault(event["object"]["spec"]["prompt"], time.perf_counter())

    watch = asyncio.create_task(bare.watch(NAMESPACE, on_event))
    await until(lambda: len(seen) > 0)
    found: list[float] = []
    for number in range(samples):
        name = names(count)[number * 37 % count]
        prompt = f"sample {number}"
        commit = repository.prepare({task_path("acme", name): task_file(name, prompt)})
        await asyncio.sleep(0.05)
        began = await asyncio.to_thread(repository.publish, commit)
        await until(lambda prompt=prompt: prompt in seen)  # type: ignore[misc]
        found.append((seen[prompt] - began) * 1000)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    return found


async def _irrelevant(repository: LocalRepository, running: ReconcilerService) -> list[float]:
    found: list[float] = []
    for number in range(IRRELEVANT):
        commit = repository.prepare({"README.md": f"edit {number}\n"})
        began = await asyncio.to_thread(repository.publish, commit)
        await until(lambda commit=commit: running.status.source_revision == commit)  # type: ignore[misc]
        found.append((time.perf_counter() - began) * 1000)
    return found
