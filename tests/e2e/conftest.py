"""A real cluster with a real node for every test of this tier: one for the session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from guildnet_devcluster import cluster
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.progress import progress_to


@pytest.fixture(scope="session")
def node_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a node that lives as long as the session."""
    # Tests may point GUILDNET_STATE_DIR elsewhere; up and down must both see this one.
    state = tmp_path_factory.mktemp("node-cluster")
    name = f"t-node-{os.getpid()}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUILDNET_STATE_DIR", str(state))
            found = cluster.up(name, node=True, progress=progress_to())
        yield found
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUILDNET_STATE_DIR", str(state))
            cluster.down(name)
