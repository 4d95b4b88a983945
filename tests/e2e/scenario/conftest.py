"""Two clusters with nodes, and one run of the demo's scenario on them.

The devclusters are created as `guildnet demo` does and then used as by --kubeconfig, so that both
ways are tested and what the demo leaves behind can be inspected.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from guildnet.errors import GuildNetError
from guildnet.kube import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, KubeClient, ResourceKind
from guildnet_demo.environment import DemoEnvironment
from guildnet_demo.existing_clusters import ExistingClusterSite
from guildnet_demo.scenario import Scenario
from guildnet_demo.sites import ORGS, DevClusterSite, SiteDetails
from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to

_VOLUMES = ResourceKind("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
_FOR_ALL = (NAMESPACES, CUSTOM_RESOURCE_DEFINITIONS, _VOLUMES)

#: The names of what is there for all of a cluster, by org and kind.
Inventory = dict[tuple[str, str], set[str]]


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(node_folders: Path) -> Iterator[Path]:
    """In site of each test's own: the steps share one state folder, as a person's do."""
    folder = node_folders / "scenario"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(folder / "s"))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield folder


@pytest.fixture(scope="session")
def details(own_surroundings: Path) -> Iterator[SiteDetails]:
    """Two devclusters that have our images."""
    try:
        cluster.require_node_machine()
    except GuildNetError as error:
        pytest.skip(str(error))
    site = DevClusterSite(f"t{os.getpid()}")
    try:
        yield site.up(progress_to())
    finally:
        site.down()


@dataclass(frozen=True)
class ScenarioRun:
    """A scenario, its clusters, and what they held before it."""

    scenario: Scenario
    details: SiteDetails
    before: Inventory

    async def inventory(self) -> Inventory:
        """What the clusters have now."""
        return await inventory_of(self.details)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scenario_run(own_surroundings: Path, details: SiteDetails) -> AsyncIterator[ScenarioRun]:
    before = await inventory_of(details)
    folder = own_surroundings / "demo"
    site = ExistingClusterSite(details, folder / "existing-clusters.json")
    environment = DemoEnvironment(folder, site, progress_to())
    try:
        await asyncio.to_thread(environment.up)
        yield ScenarioRun(Scenario(environment), details, before)
        await environment.close()
    finally:
        await asyncio.to_thread(environment.down)


@pytest.fixture(scope="session")
def scenario(scenario_run: ScenarioRun) -> Scenario:
    return scenario_run.scenario


async def inventory_of(details: SiteDetails) -> Inventory:
    found = {}
    for org in ORGS:
        async with KubeClient.from_kubeconfig(details.kubeconfigs[org]) as client:
            for kind in _FOR_ALL:
                names = {obj["metadata"]["name"] for obj in await client.list_all(kind)}
                found[org, kind.plural] = names
    return found
