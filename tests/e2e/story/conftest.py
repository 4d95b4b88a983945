"""One telling of the demo's story for all tests of this folder: they walk through its chapters."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from guildnet.errors import GuildNetError
from guildnet_cli.demo.story import Story
from guildnet_cli.demo.surroundings import Settings, Surroundings
from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to


@pytest.fixture(scope="module", autouse=True)
def own_surroundings(node_folders: Path) -> Iterator[Path]:
    """In place of each test's own: the chapters share one state folder, as a person's do."""
    folder = node_folders / "story"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(folder / "s"))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(own_surroundings: Path) -> AsyncIterator[Story]:
    try:
        cluster.require_node_machine()
    except GuildNetError as error:
        pytest.skip(str(error))
    folder, prefix = own_surroundings / "demo", f"t{os.getpid()}"
    settings = Settings(folder=folder, kubeconfigs={}, cluster_prefix=prefix)
    surroundings = Surroundings(settings, progress_to())
    try:
        surroundings.up()
        yield Story(surroundings)
        await surroundings.close()
    finally:
        surroundings.down()
