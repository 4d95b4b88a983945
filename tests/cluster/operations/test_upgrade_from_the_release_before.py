"""CRD, operator and reconciler of the release before are upgraded, in either order, while an agent
works: real processes on a real API server. Only the pods are simulated."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster.operations.deployed import (
    COMPONENTS,
    Deployed,
    deployment,
    new_namespace,
    start,
)
from tests.cluster.operations.versions import THIS, Version, build_release_before
from tests.cluster.reconciler.conftest import StateRepository, org_file, task_file


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The release before this one."""
    return build_release_before(tmp_path_factory.mktemp("release-before"))


@pytest.fixture
async def deployed(
    control_plane: Path, repo: StateRepository, before: Version, tmp_path: Path
) -> AsyncIterator[Deployed]:
    """The release before, at work."""
    namespace = new_namespace()
    repo.commit(
        {
            "orgs/acme.yaml": org_file(namespace=namespace, more="limits: {maxActive: 1}\n"),
            "tasks/acme/over.yaml": task_file("over"),
        }
    )
    async with deployment(control_plane, repo, tmp_path, namespace) as made:
        await start(made, before)
        yield made


@pytest.mark.parametrize("order", [COMPONENTS, COMPONENTS[::-1]], ids="-then-".join)
async def test_running_agents_are_kept_and_finished_runs_stay_finished(
    deployed: Deployed, order: tuple[str, str]
) -> None:
    """I1, I7: and the versions work together in between, with either of them ahead."""
    site, node = deployed, deployed.node
    await node.run_to_success("over")
    over = await site.recorded("over", "TaskSucceeded")
    site.repo.commit({"tasks/acme/busy.yaml": task_file("busy")})
    pod = await node.run_pod("busy")
    await site.recorded("busy", "AgentServing")
    working, tip = await site.pods("busy"), site.status_tip()

    for step, component in enumerate(order):
        began = time.monotonic()
        await site.deploy(component, THIS)
        print(f"{component} upgraded in {time.monotonic() - began:.1f} s")
        # A commit shows that the reconciler works, and the record what the operator says of it.
        site.repo.commit({f"tasks/acme/later-{step}.yaml": task_file(f"later-{step}")})
        await site.recorded(f"later-{step}", "Queued")
        assert await site.pods("busy") == working
        assert (await site.org.status("busy"))["pod"] == pod
        assert await site.skewed() == set(order[step + 1 :])

    # The agent that the release before started is followed to its end by this version.
    await node.run_to_success("busy")
    busy = await site.recorded("busy", "TaskSucceeded")
    assert (busy["run"], busy["attempt"], busy["start"]) == (1, 1, 1)
    # What starts from now on has the pod of this version.
    await node.run_to_success("later-0")
    await site.recorded("later-0", "TaskSucceeded")
    assert site.starts("over") == site.starts("busy") == site.starts("later-0") == [(1, 1, 1)]

    now = site.record("over")
    assert {key: now[key] for key in over} == over
    _moved_forward(site.repo, tip)


def _moved_forward(repo: StateRepository, tip: str) -> None:
    """The status branch contains `tip`, and since then no record went back to an earlier run."""
    repo.git("merge-base", "--is-ancestor", tip, "status", at=repo.remote)
    commits = repo.git("rev-list", "--reverse", f"{tip}..status", at=repo.remote).split()
    assert commits
    runs = {"over": (1, "TaskSucceeded"), "busy": (1, None)}
    for commit in commits:
        for task, (run, result) in runs.items():
            path = f"orgs/acme/tasks/{task}/status.json"
            record = json.loads(repo.git("show", f"{commit}:{path}", at=repo.remote))
            assert record["run"] == run
            assert record.get("result") in (result, "TaskSucceeded")
