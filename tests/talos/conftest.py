"""Real Talos machines for the tests of this tier, shared by the session where tests allow it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.devcluster.conftest import kubectl, python_image
from tests.talos.remnants import remnants

from guildnet_devcluster import cluster
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.progress import progress_to
from guildnet_devcluster.talos import kubernetes, site
from guildnet_devcluster.talos.site import Site

__all__ = ["kubectl", "python_image"]


@pytest.fixture(scope="session")
def talos_folder() -> Iterator[Path]:
    """The state folder of the session's Talos machines."""
    with tempfile.TemporaryDirectory(prefix="gn-talos-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def maintenance_site(talos_folder: Path) -> Iterator[Site]:
    """One machine in maintenance mode for the session. Tests must not configure it for good."""
    name = f"t-wait-{os.getpid()}"
    with _site_of_the_session(talos_folder, name):
        with _state(talos_folder):
            started = site.up(name, workers=0, progress=progress_to())
        yield started


@pytest.fixture(scope="session")
def kubernetes_site(talos_folder: Path) -> Iterator[Site]:
    """A control plane and a worker with Kubernetes for the session.

    The first `up` is killed while it starts etcd, and a second one finishes.
    """
    name = f"t-kube-{os.getpid()}"
    with _site_of_the_session(talos_folder, name):
        _kill_in_the_middle(talos_folder, name)
        with _state(talos_folder):
            kubernetes.up(name, workers=1, progress=progress_to())
            started = site.get(name, progress_to())
        yield started


@pytest.fixture(scope="session")
def node_cluster(kubernetes_site: Site, talos_folder: Path) -> Cluster:
    """The same, as other tiers' tests of a cluster with nodes know it."""
    with _state(talos_folder):
        return cluster.get(kubernetes_site.layout.name)


@contextmanager
def _state(folder: Path) -> Iterator[None]:
    """Tests may point GUILDNET_STATE_DIR elsewhere; up and down must both see this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(folder))
        yield


@contextmanager
def _site_of_the_session(folder: Path, name: str) -> Iterator[None]:
    """Take the site down in the end, and check that nothing is left of it."""
    found = None
    try:
        yield
        with _state(folder):
            found = site.get(name, progress_to())
    finally:
        with _state(folder):
            cluster.down(name)
    assert remnants(found) == set()


def _kill_in_the_middle(folder: Path, name: str) -> None:
    program = Path(sys.executable).parent / "guildnet"
    environment = {**os.environ, "GUILDNET_STATE_DIR": str(folder)}
    command = [str(program), "devcluster", "up", name, "--talos", "--workers", "1"]
    asked = folder / "devcluster" / name / "talos" / ".bootstrap-asked"
    deadline = time.monotonic() + 300
    with subprocess.Popen(command, env=environment, start_new_session=True) as starting:
        while not asked.exists():
            assert starting.poll() is None, "up ended before it started etcd"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        starting.kill()
