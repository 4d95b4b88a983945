"""A node leaves nothing on the machine after `down`, nor after a crash and a new `up`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.devcluster.machine import CGROUPS, machine_state, of, slot_marks

from guildnet.errors import ConfigurationError
from guildnet_devcluster import cluster, processes, teardown
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.progress import progress_to

Kubectl = Callable[..., str]


@pytest.fixture
def names(node_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """The names of two clusters that are removed after the test."""
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(node_folder))
    pair = (f"t-one-{os.getpid()}", f"t-two-{os.getpid()}")
    yield pair
    for name in pair:
        cluster.down(name)


def marks_of(found: Cluster) -> tuple[str, ...]:
    """Further strings that would identify its leftovers."""
    slot = int(found.host_address.split(".")[2])
    return (*slot_marks(slot, found.data), Layout.of(found.name).runtime.name)


def run_pod(found: Cluster, archive: Path, kubectl: Kubectl) -> None:
    """Run a sleeping pod with a volume, which creates mounts, links and shims."""
    cluster.load_image(found.name, archive, progress_to())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "sleeper", "namespace": "default"},
        "spec": {
            "containers": [
                {
                    "name": "sleeper",
                    "image": "localhost/t-python:1",
                    "args": ["-c", "import time; time.sleep(3600)"],
                    "volumeMounts": [{"name": "memory", "mountPath": "/memory"}],
                }
            ],
            "volumes": [{"name": "memory", "emptyDir": {"medium": "Memory"}}],
        },
    }
    kubectl(found.kubeconfig, "apply", "-f", "-", manifest=pod)
    wait_ready(found, kubectl)


def wait_ready(found: Cluster, kubectl: Kubectl) -> None:
    kubectl(found.kubeconfig, "wait", "pod/sleeper", "--for=condition=Ready", "--timeout=90s")


def kill_everything(found: Cluster) -> None:
    """Send SIGKILL to every process of the cluster: programs, shims and containers."""
    layout = Layout.of(found.name)
    in_pods = (CGROUPS / "memory" / layout.cgroup, CGROUPS / layout.cgroup)
    pids = {process.pid for process in (*processes.recorded(layout), *processes.strays(layout))}
    for folder in in_pods:
        for file in folder.rglob("cgroup.procs"):
            pids |= set(map(int, file.read_text().split()))
    assert len(pids) > len(processes.recorded(layout)) + 1, "no shim and no pod is running"
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_two_clusters_recover_from_a_crash_and_leave_nothing(
    names: tuple[str, str], python_image: Path, kubectl: Kubectl
) -> None:
    """I2 on the machine: all of this cluster is removed, and nothing of the other."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda n: cluster.up(n, node=True, progress=progress_to()), names)
    assert first.host_address != second.host_address
    for found in (first, second):
        run_pod(found, python_image, kubectl)
        assert of(found.name, machine_state(), marks_of(found)), "no trace of the running node"

    kill_everything(first)
    again = cluster.up(first.name, node=True, progress=progress_to())
    assert again.kubeconfig == first.kubeconfig
    wait_ready(again, kubectl)
    wait_ready(second, kubectl)

    cluster.down(first.name)
    assert of(first.name, machine_state(), marks_of(again)) == []
    wait_ready(second, kubectl)

    kill_everything(second)
    cluster.down(second.name)
    assert of(second.name, machine_state(), marks_of(second)) == []
    for name in names:
        layout = Layout.of(name)
        assert not layout.data.exists()
        assert processes.strays(layout) == []
        assert teardown.mounts_of(layout) == []


def test_a_cluster_of_the_same_name_in_another_state_folder_is_not_touched(
    node_cluster: Cluster, node_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: a cluster of the same name in another state folder is neither used nor stopped."""
    name = node_cluster.name
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(node_folder))
    with pytest.raises(ConfigurationError, match="with a node has its data in") as failure:
        cluster.up(name, node=True, progress=progress_to())
    assert str(node_cluster.data) in str(failure.value)
    cluster.up(name, node=False, progress=progress_to())
    cluster.down(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(node_cluster.data.parent.parent))
        assert [status.is_whole for status in cluster.status()] == [True]


def test_up_of_a_running_node_starts_nothing(node_cluster: Cluster) -> None:
    """I4: a second `up` starts nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(node_cluster.data.parent.parent))
        before = processes.recorded(Layout.of(node_cluster.name))
        assert cluster.up(node_cluster.name, node=True, progress=progress_to()) == node_cluster
        assert processes.recorded(Layout.of(node_cluster.name)) == before
        assert all(status.is_whole for status in cluster.status())


def test_the_command_prints_the_kubeconfig_last(node_cluster: Cluster) -> None:
    """Scripts take the last line of standard output; everything else goes to standard error."""
    program = shutil.which("guildnet", path=str(Path(sys.executable).parent))
    environment = {**os.environ, "GUILDNET_STATE_DIR": str(node_cluster.data.parent.parent)}
    done = subprocess.run(
        [str(program), "devcluster", "up", node_cluster.name],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.splitlines() == [str(node_cluster.kubeconfig)]
