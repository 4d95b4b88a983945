"""The reconciler restarted while everything is in sync: how long its first passes take, that it
writes nothing (I4), and how long a bare client takes to list the same objects."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import BareClient, LocalRepository, reconciler, requests, until

WRITES = ("apply", "create", "update", "patch", "delete")
PAGE = 500
ROUNDS = 3


@dataclass(frozen=True)
class Restart:
    """Seconds, each the best of all rounds; `writes` and `status_commits` are totals."""

    tasks: int
    ours: float
    bare_list: float
    writes: int
    status_commits: int


async def restart(
    kubeconfig: Path, repository: LocalRepository, state: Path, namespace: str, count: int
) -> Restart:
    """Start a reconciler with the `state` of an earlier one that had `repository` in sync."""
    ours, bare_list, writes, commits = float("inf"), float("inf"), 0, 0
    for _ in range(ROUNDS):
        async with BareClient.open(kubeconfig) as bare:
            began = time.perf_counter()
            assert await bare.list_all(namespace, PAGE) == count
            bare_list = min(bare_list, time.perf_counter() - began)
        began = time.perf_counter()
        async with reconciler(kubeconfig, repository, state) as running:
            await until(lambda: running.scheduler.summary() == {"acme": "ok"})
            await until(lambda: running.scheduler.is_settled)
            ours = min(ours, time.perf_counter() - began)
            assert len(running.status.of("acme").recorded) == count
            await running.status.flush()
            writes += requests(running, WRITES)
            commits += running.status.commits
    return Restart(count, ours, bare_list, writes, commits)
