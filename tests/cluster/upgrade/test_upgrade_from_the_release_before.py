"""CRD, operator and reconciler of the release before are upgraded, in either order, while an agent
works: real processes on a real API server. Only the pods are simulated."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.operator.conftest import Node, Org, account_kubeconfig, simulated_node, until
from tests.cluster.reconciler.conftest import StateRepository, org_file, task_file
from tests.cluster.upgrade.versions import THIS, Version, build_release_before

from guildnet import labels
from guildnet.kube import LEASES, PODS, KubeClient
from guildnet_cli.cluster.checks import check_one
from guildnet_cli.cluster.installation import FIELD_MANAGER
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.cluster.versions import BEFORE
from guildnet_devcluster.control_plane import free_ports
from guildnet_operator.settings import Settings

Record = dict[str, Any]
COMPONENTS = ("operator", "reconciler")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The release before this one."""
    return build_release_before(tmp_path_factory.mktemp("release-before"))


@dataclass
class Deployed:
    """One org with its state repository, and which version of each component runs."""

    org: Org
    node: Node
    repo: StateRepository
    folder: Path
    running: dict[str, ExitStack] = field(default_factory=dict)

    async def deploy(self, component: str, version: Version) -> None:
        """Stop the component of another version, then start this one; wait until it works."""
        await asyncio.to_thread(self.stop, component)
        if component == "operator":
            await self._install(version)
        previous = await self._holder(component)
        stack = self.running[component] = ExitStack()
        start = self._operator if component == "operator" else self._reconciler
        stack.enter_context(start(version))

        async def has_taken_over() -> bool:
            return await self._holder(component) not in ("", previous)

        await until(has_taken_over, f"{component} holds its Lease")

    def stop(self, component: str) -> None:
        if component in self.running:
            self.running.pop(component).close()

    async def _install(self, version: Version) -> None:
        """Apply what the version's `org install` applies, but for the Deployment."""
        own = ("--kubeconfig", str(self.org.kubeconfig), "--namespace", self.org.namespace)
        printed = await asyncio.to_thread(version.run, "org", "install", "acme", *own, "--dry-run")
        for obj in yaml.safe_load_all(printed):
            if obj["kind"] != "Deployment":
                await self.org.admin.apply(obj, field_manager=FIELD_MANAGER)

    @contextmanager
    def _operator(self, version: Version) -> Iterator[None]:
        own = ("--kubeconfig", str(self.folder / "account.kubeconfig"))
        images = ("--image", "operator", "--work-image", "work")
        port = str(self.node.port)
        log = self.folder / "operator.log"
        options = (*own, "--namespace", self.org.namespace, *images)
        with version.running("operator", *options, log=log, TEST_AGENT_PORT=port):
            yield

    @contextmanager
    def _reconciler(self, version: Version) -> Iterator[None]:
        (port,) = free_ports(1)
        options = ("--repo", str(self.repo.remote), "--listen", f"127.0.0.1:{port}", "--poll", "1s")
        state = str(self.folder / "state")
        log = self.folder / "reconciler.log"
        with version.running("reconciler", *options, log=log, GUILDNET_STATE_DIR=state):
            yield

    async def _holder(self, component: str) -> str:
        name = {"operator": labels.OPERATOR, "reconciler": labels.RECONCILER}[component]
        found = await self.org.admin.find(LEASES, name)
        return str(found["spec"].get("holderIdentity") or "") if found else ""

    def record(self, task: str) -> Record:
        return self.repo.status(f"orgs/acme/tasks/{task}/status.json") or {}

    async def recorded(self, task: str, reason: str) -> Record:
        """The task's record, once one of its conditions has the reason."""

        async def holds() -> Record:
            record = self.record(task)
            found = [c["reason"] for c in record.get("conditions", ())]
            return record if reason in found else {}

        record: Record = await until(holds, f"{reason} in the record of {task}")
        return record

    async def pods(self, task: str) -> list[str]:
        """The UIDs of the task's pods."""
        found = await self.org.admin.list_all(PODS, label_selector=f"{labels.TASK}={task}")
        return [pod["metadata"]["uid"] for pod in found]

    def starts(self, task: str) -> list[tuple[int, int, int]]:
        """Run, attempt and start of each request to start the task's agent."""
        return [
            (given["run"], given["attempt"], given["start"])
            for pod, path, given in self.node.requests
            if path == "/start" and pod.startswith(f"{task}-")
        ]

    async def skewed(self) -> set[str]:
        """The components that `guildnet doctor` names as older than others, while all still work
        together."""
        cluster = OrgCluster("acme", self.org.kubeconfig, None, self.org.namespace)
        results = {result.check: result for result in await check_one(cluster)}
        found = results["versions"]
        assert found.good, found
        return {part for part in COMPONENTS if f"{part} {BEFORE}" in found.message}

    def status_tip(self) -> str:
        return self.repo.git("rev-parse", "status", at=self.repo.remote)


@pytest.fixture
async def deployed(
    control_plane: Path, repo: StateRepository, before: Version, tmp_path: Path
) -> AsyncIterator[Deployed]:
    """The release before, at work."""
    namespace = f"up-{uuid.uuid4().hex[:8]}"
    stored = tmp_path / "state" / "kube" / "acme.config"
    stored.parent.mkdir(parents=True)
    shutil.copy(control_plane, stored)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(
            KubeClient.from_kubeconfig(control_plane, namespace=namespace)
        )
        org = Org(control_plane, namespace, admin, Settings())
        node = await stack.enter_async_context(simulated_node(org))
        made = Deployed(org, node, repo, tmp_path)
        await made._install(before)
        await account_kubeconfig(admin, stored.read_text(), tmp_path)
        for component in COMPONENTS:
            stack.callback(made.stop, component)
        repo.commit(
            {
                "orgs/acme.yaml": org_file(namespace=namespace, more="limits: {maxActive: 1}\n"),
                "tasks/acme/over.yaml": task_file("over"),
            }
        )
        await made.deploy("operator", before)
        await made.deploy("reconciler", before)
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
        await site.deploy(component, THIS)
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
