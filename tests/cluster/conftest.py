"""A real kube-apiserver for every test of this tier: one for the session, without a node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a control plane that lives as long as the session."""
    # Tests may point GUILDNET_STATE_DIR elsewhere; up and down must both see this one.
    state = tmp_path_factory.mktemp("control-plane")
    name = f"t-cp-{os.getpid()}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUILDNET_STATE_DIR", str(state))
            kubeconfig = cluster.up(name, node=False, progress=progress_to()).kubeconfig
        yield kubeconfig
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUILDNET_STATE_DIR", str(state))
            cluster.down(name)
