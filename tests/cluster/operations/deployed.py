"""One org, its operator and reconciler as processes on a real API server; pods are simulated."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.operations.versions import Version
from tests.cluster.operator.conftest import Node, Org, account_kubeconfig, simulated_node, until
from tests.cluster.reconciler.conftest import StateRepository

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
            await self.install(version)
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

    async def install(self, version: Version) -> None:
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
        state = str(self.state)
        log = self.folder / "reconciler.log"
        with version.running("reconciler", *options, log=log, GUILDNET_STATE_DIR=state):
            yield

    async def _holder(self, component: str) -> str:
        name = {"operator": labels.OPERATOR, "reconciler": labels.RECONCILER}[component]
        found = await self.org.admin.find(LEASES, name)
        return str(found["spec"].get("holderIdentity") or "") if found else ""

    @property
    def state(self) -> Path:
        """The state directory of the reconciler and of the person who runs it."""
        return self.folder / "state"

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


@asynccontextmanager
async def deployment(
    kubeconfig: Path, repo: StateRepository, folder: Path, namespace: str
) -> AsyncIterator[Deployed]:
    """Nothing runs yet. The kubeconfig is stored for acme, and `folder` has the state directory."""
    stored = folder / "state" / "kube" / "acme.config"
    stored.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(kubeconfig, stored)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(
            KubeClient.from_kubeconfig(kubeconfig, namespace=namespace)
        )
        org = Org(kubeconfig, namespace, admin, Settings())
        node = await stack.enter_async_context(simulated_node(org))
        made = Deployed(org, node, repo, folder)
        for component in COMPONENTS:
            stack.callback(made.stop, component)
        yield made


async def start(site: Deployed, version: Version) -> None:
    """Install the version and start operator and reconciler."""
    await site.install(version)
    await account_kubeconfig(site.org.admin, site.org.kubeconfig.read_text(), site.folder)
    for component in COMPONENTS:
        await site.deploy(component, version)


def new_namespace() -> str:
    return f"ops-{uuid.uuid4().hex[:8]}"
