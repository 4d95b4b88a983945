"""Two clusters with nodes, and one telling of the demo's story on them as on clusters of one's own.

The devclusters are brought up as `guildnet demo` does, and then given to it as by --kubeconfig: so
both its ways are gone, and what it leaves behind can be looked at.
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
from guildnet_cli.demo.grounds import ORGS, DevClusters, Ground
from guildnet_cli.demo.own_clusters import OwnClusters
from guildnet_cli.demo.story import Story
from guildnet_cli.demo.surroundings import Surroundings
from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to

_VOLUMES = ResourceKind("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
_FOR_ALL = (NAMESPACES, CUSTOM_RESOURCE_DEFINITIONS, _VOLUMES)

#: The names of what is there for all of a cluster, by org and kind.
Inventory = dict[tuple[str, str], set[str]]


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(node_folders: Path) -> Iterator[Path]:
    """In place of each test's own: the chapters share one state folder, as a person's do."""
    folder = node_folders / "story"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(folder / "s"))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield folder


@pytest.fixture(scope="session")
def ground(own_surroundings: Path) -> Iterator[Ground]:
    """Two devclusters that have our images."""
    try:
        cluster.require_node_machine()
    except GuildNetError as error:
        pytest.skip(str(error))
    place = DevClusters(f"t{os.getpid()}")
    try:
        yield place.up(progress_to())
    finally:
        place.down()


@dataclass(frozen=True)
class Telling:
    """A story, its ground, and what the clusters had before it."""

    story: Story
    ground: Ground
    before: Inventory

    async def inventory(self) -> Inventory:
        """What the clusters have now."""
        return await inventory_of(self.ground)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def telling(own_surroundings: Path, ground: Ground) -> AsyncIterator[Telling]:
    before = await inventory_of(ground)
    folder = own_surroundings / "demo"
    place = OwnClusters(ground, folder / "own-clusters.json")
    surroundings = Surroundings(folder, place, progress_to())
    try:
        await asyncio.to_thread(surroundings.up)
        yield Telling(Story(surroundings), ground, before)
        await surroundings.close()
    finally:
        await asyncio.to_thread(surroundings.down)


@pytest.fixture(scope="session")
def story(telling: Telling) -> Story:
    return telling.story


async def inventory_of(ground: Ground) -> Inventory:
    found = {}
    for org in ORGS:
        async with KubeClient.from_kubeconfig(ground.kubeconfigs[org]) as client:
            for kind in _FOR_ALL:
                names = {obj["metadata"]["name"] for obj in await client.list_all(kind)}
                found[org, kind.plural] = names
    return found
