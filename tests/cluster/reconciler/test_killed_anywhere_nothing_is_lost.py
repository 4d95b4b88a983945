"""A reconciler is killed between any two steps, again and again, under all kinds of trouble.

`make chaos N=200 SEED=7` does it longer. What is random comes from the seed; how far a life gets
before it is killed depends on the machine as well.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.reconciler.conftest import Site, eventually
from tests.cluster.reconciler.faults.branch_history import broken_steps, git, taken_back
from tests.cluster.reconciler.faults.people import BAD, STEADY, Committers, Operator
from tests.cluster.reconciler.faults.rig import Rig, rigged

from guildnet import labels
from guildnet.kube import AGENT_TASKS
from guildnet.loading import load_task
from guildnet.resources import Source, task_path

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "8"))
IS_LONG = "CHAOS_ROUNDS" in os.environ
# Outside of a search for new cases, the choices are fixed, so that results compare.
SEED = int(os.environ.get("CHAOS_SEED") or (secrets.randbelow(10_000) if IS_LONG else 7))
ROUNDS_OF_ONE_BRANCH = 40
"""After so many the repository is a new one: reading a long history takes long."""
CONVERGED_WITHIN_SECONDS = 60.0


@pytest.fixture
async def rig(site: Site, tmp_path: Path, seed: int) -> AsyncIterator[Rig]:
    async with site.behind_a_proxy() as proxy, rigged(site, proxy, seed, tmp_path) as made:
        yield made


def seeds() -> list[tuple[int, int]]:
    """(seed, rounds) of each repository."""
    whole, rest = divmod(ROUNDS, ROUNDS_OF_ONE_BRANCH)
    rounds = [ROUNDS_OF_ONE_BRANCH] * whole + ([rest] if rest else [])
    return [(SEED + number, count) for number, count in enumerate(rounds)]


@pytest.mark.timeout(60 + ROUNDS_OF_ONE_BRANCH * 10)
@pytest.mark.parametrize(("seed", "rounds"), seeds())
async def test_whatever_is_killed(site: Site, rig: Rig, seed: int, rounds: int) -> None:
    """I1, I2, I4, I6, I7."""
    theirs = await site.client.create(foreign(site.namespace))
    people = Committers(site, random.Random(f"people {seed}"))
    operator = Operator(site.client, random.Random(f"operator {seed}"), people)
    people.begin()
    working = asyncio.create_task(operator.run())
    print(f"\nseed {seed}, {rounds} rounds")
    try:
        for _ in range(rounds):
            print(await rig.round(people.change))
            await asyncio.to_thread(people.change)
        await asyncio.to_thread(people.settle)
        async with rig.alive():
            await eventually(
                lambda: converged(site, people),
                seconds=CONVERGED_WITHIN_SECONDS,
                what=f"as committed; seed {seed}: {rig.trace}",
            )
        await a_new_process_writes_nothing(site, rig)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    after = await site.client.get(AGENT_TASKS, "theirs")
    wrongs = [*operator.wrongs, *branch_wrongs(site, operator, rig)]
    if after["metadata"]["resourceVersion"] != theirs["metadata"]["resourceVersion"]:
        wrongs.append("I2: an AgentTask that is not ours was changed")
    assert not wrongs, f"seed {seed}: {wrongs[:5]} after {rig.trace}"


def foreign(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {"name": "theirs", "namespace": namespace},
        "spec": {"prompt": "theirs", "run": 1},
    }


async def converged(site: Site, people: Committers) -> bool:
    """Everything is as committed, ended and recorded."""
    org = site.repo.status("orgs/acme/org.json") or {}
    wanted = {name for name, content in people.files.items() if content is not None}
    is_settled = org.get("applied") and org["applied"] == org.get("attempted")
    left_open = org.get("held") or org.get("faults") or org.get("quarantined")
    if not is_settled or left_open or org["counts"]["tasks"] != len(wanted):
        return False
    if org["counts"].get("active") or not all(people.files[n] != BAD for n in wanted):
        return False
    found = [o for o in await site.client.list_all(AGENT_TASKS) if o["metadata"].get("labels")]
    is_at_rest = all("deletionTimestamp" not in o["metadata"] for o in found)
    lasting = {o["metadata"]["name"] for o in found if o["spec"]["ttlAfterFinished"] != "1s"}
    return is_at_rest and lasting == {o["metadata"]["name"] for o in found} <= wanted


async def a_new_process_writes_nothing(site: Site, rig: Rig) -> None:
    """I4."""
    rig.proxy.writes.clear()
    rig.proxy.reads.clear()
    tip = git(site.repo.remote, "rev-parse", "status")
    async with rig.alive():

        async def has_looked() -> bool:
            return any("/configmaps/guildnet-org" in path for path in rig.proxy.reads)

        await eventually(has_looked, what="a pass of the new process")
        await asyncio.sleep(1)
    assert rig.proxy.writes == []
    assert git(site.repo.remote, "rev-parse", "status") == tip


def branch_wrongs(site: Site, operator: Operator, rig: Rig) -> list[str]:
    """What the status branch should have said, and what it should never have."""
    remote = site.repo.remote
    wrongs = [*broken_steps(remote, "status"), *taken_back(remote, "status")]
    for (task, run), result in operator.reported.items():
        record = record_of(site, task)
        known = {e["run"]: e.get("result") for e in [record, *record.get("history", ())]}
        if run > record["run"] - 10 and known.get(run) != result:
            wrongs.append(f"I6: run {run} of {task} ended {result}; on record is {known.get(run)}")
    for name, content in operator.committers.files.items():
        if content is None:
            continue
        path = task_path("acme", name)
        digest = load_task(content.encode(), Source(path)).run_digest
        if record_of(site, name)["digest"] != digest:
            wrongs.append(f"the latest run of {name} is not of its latest prompt")
    uids = {name: record_of(site, name)["uid"] for name in STEADY}
    wrongs += [
        f"I1: {name} was created again"
        for name, uid in uids.items()
        if operator.first_uid[name] != uid
    ]
    notes = git(remote, "ls-tree", "-r", "--name-only", "status", "orgs/globex").split()
    if len(notes) < rig.notes:
        wrongs.append(f"I6: of {rig.notes} files of a rival {len(notes)} are left")
    return wrongs


def record_of(site: Site, task: str) -> dict[str, Any]:
    found = site.repo.status(f"orgs/acme/tasks/{task}/status.json")
    record: dict[str, Any] = found or site.repo.status(f"orgs/acme/removed/{task}.json")
    return record
