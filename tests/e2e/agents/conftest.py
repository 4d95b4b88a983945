"""Real coding agents on a real node, led by a scripted model endpoint.

The tasks of all selected tests are created at once and run side by side, as many as the org's
limit admits; each test waits for its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.agents.cases import CANCELLED, LOST, Case
from tests.e2e.agents.scan import SCAN
from tests.e2e.agents.site import (
    NAMESPACE,
    PROTOCOLS,
    Site,
    new_key,
    own_environment,
    pod_of,
    status_of,
)

from guildnet import conditions
from guildnet.errors import GuildNetError
from guildnet.kube import AGENT_TASKS, KubeClient
from guildnet_demo import model_endpoint
from guildnet_demo.repositories import Repositories
from guildnet_demo.steps import explain_agent_task, until
from guildnet_devcluster import cluster
from guildnet_devcluster.control_plane import free_ports
from guildnet_devcluster.preparation import prepare_everything
from guildnet_devcluster.progress import progress_to
from guildnet_devcluster.scripted_model.server import ScriptedModel, serving

PATIENCE = timedelta(minutes=6)


@pytest.fixture(scope="session")
def site(node_folders: Path) -> Iterator[Site]:
    """A node with the operator, whose work image has all three agents."""
    progress = progress_to()
    try:
        images = prepare_everything(progress, PROTOCOLS)
    except GuildNetError as error:
        pytest.skip(f"the agents cannot be installed: {error}")
    folder = node_folders / "agents"
    folder.mkdir()
    environment = own_environment(folder / "s")
    name, key = f"t-agents-{os.getpid()}", new_key()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("GUILDNET_STATE_DIR", environment["GUILDNET_STATE_DIR"])
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        stack.callback(cluster.down, name)
        found = cluster.up(
            name, node=True, progress=progress, images=(images.operator, images.work)
        )
        repositories = Repositories(folder)
        stack.callback(repositories.down)
        (port,) = free_ports(1)
        repositories.up(found.host_address, port, progress)
        model = ScriptedModel(model_endpoint.SCRIPT, key)
        stalls = ScriptedModel(model_endpoint.SCRIPT, key, fault="stall")
        for each in (model, stalls):
            stack.enter_context(serving(each, host=found.host_address))
        made = Site(found, images, repositories, model, stalls, key, environment)
        made.install()
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(site: Site) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(site.cluster.kubeconfig, namespace=NAMESPACE) as made:
        await site.claim(made)
        yield made
    await site.repositories.close()


class Runs:
    """What became of each case: its AgentTask's status, and what was found in its pod."""

    def __init__(self, site: Site, client: KubeClient, cases: list[Case]) -> None:
        self._site, self._client = site, client
        self._cases = cases
        self._running: dict[Case, asyncio.Task[dict[str, Any]]] = {}
        self.findings: dict[Case, str] = {}
        self.asked_before_loss: dict[Case, int] = {}
        self._all_wait = asyncio.Event()

    async def start(self) -> None:
        """Create all tasks, and do to each what its case says."""
        for case in sorted(self._cases, key=lambda c: -c.kind.spec.get("priority", 0)):
            spec = self._site.repair(case.agent, case.name, case.kind.model, **case.kind.spec)
            await self._site.create(self._client, case.name, spec)
        for case in self._cases:
            self._running[case] = asyncio.create_task(self._follow(case))

    async def end_of(self, case: Case) -> dict[str, Any]:
        """The status of the case's task once it is finished."""
        return await self._running[case]

    async def stop(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _follow(self, case: Case) -> dict[str, Any]:
        if case.kind == LOST:
            await self._asked(case, results=2)
            await self._counted(case)
            await self._lose_pod(case)
        elif case.kind == CANCELLED:
            await self._asked(case, results=3)
            key = self._site.key
            self.findings[case] = await self._site.python_in_work(
                self._client, case.name, SCAN, key
            )
            patch = {"spec": {"cancel": True}}
            await self._client.patch(
                AGENT_TASKS, case.name, patch, NAMESPACE, field_manager="tests"
            )
        return await self._finished(case)

    async def _asked(self, case: Case, results: int) -> None:
        """Until the agent has sent the results of this many tool calls."""

        async def look() -> bool | None:
            asked = self._site.asked_by(case.name)
            return True if any(item.results >= results for item in asked) else None

        what = f"request of {case.name} with {results} results"
        await until(what, look, PATIENCE, why=self._why(case))

    async def _counted(self, case: Case) -> None:
        """Until the status shows the requests; a pod that is lost takes unreported ones with it."""

        async def look() -> bool | None:
            usage = (await status_of(self._client, case.name)).get("usage") or {}
            asked = len(self._site.asked_by(case.name))
            return True if usage.get("requests") == asked else None

        await until(f"usage of {case.name}", look, PATIENCE, why=self._why(case))

    async def _lose_pod(self, case: Case) -> None:
        """Delete the pod once all agents of this kind wait; the next start gets its answers."""
        self.asked_before_loss[case] = len(self._site.asked_by(case.name))
        lost = [each for each in self._cases if each.kind == LOST]
        if len(self.asked_before_loss) == len(lost):
            self._site.stalls.fault = None
            self._all_wait.set()
        await self._all_wait.wait()
        pod = await pod_of(self._client, case.name)
        words = ("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
        await asyncio.to_thread(self._site.kubectl, *words)

    async def _finished(self, case: Case) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            status = await status_of(self._client, case.name)
            is_finished = conditions.is_finished(status, 1)
            return status if is_finished else None

        return await until(f"end of {case.name}", look, PATIENCE, why=self._why(case))

    def _why(self, case: Case) -> Any:
        async def why() -> str:
            return explain_agent_task(await self._client.find(AGENT_TASKS, case.name, NAMESPACE))

        return why


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def runs(
    request: pytest.FixtureRequest, site: Site, client: KubeClient
) -> AsyncIterator[Runs]:
    """The runs of all selected cases, under way."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    cases = {found.params["case"]: None for found in params if found and "case" in found.params}
    made = Runs(site, client, [case for case in cases if isinstance(case, Case)])
    await made.start()
    yield made
    await made.stop()
