"""A mesh leaves nothing on the machine after `down`, wherever `up` was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.devcluster.machine import machine_state, of, slot_marks

from guildnet_devcluster import mesh, node_network, processes
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.progress import progress_to

UP = """
import sys
from pathlib import Path
from guildnet_devcluster import mesh
from guildnet_devcluster.progress import progress_to
found = mesh.up(Path(sys.argv[1]), progress=progress_to(), reachable_by_pods=True)
mesh.ensure_client(found, "laptop", "developer@", progress_to())
"""


@pytest.fixture
def data(mesh_programs: None, node_folder: Path) -> Iterator[Path]:
    folder = node_folder / f"t-gone-{os.getpid()}"
    yield folder
    mesh.down(folder)


def _start(data: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", UP, str(data)], stderr=subprocess.DEVNULL)


def _wait_for(path: Path, up: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert up.poll() is None, f"up ended before {path}"
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.002)


@pytest.mark.parametrize("step", ["namespace", "headscale", "api key", "client"])
def test_down_removes_everything_of_an_up_that_was_killed(data: Path, step: str) -> None:
    layout = mesh.layout_of(data)
    reached = {
        "namespace": layout.netns,
        "headscale": layout.processes / "headscale.json",
        "api key": layout.data / "api-key",
        "client": layout.processes / "client-laptop.json",
    }
    with _start(data) as up:
        _wait_for(reached[step], up)
        up.send_signal(signal.SIGKILL)
    slot = node_network.claimed_slot(layout)
    assert of(data.name, machine_state(), slot_marks(slot, data)), "no trace of the killed mesh"

    mesh.down(data)

    assert of(data.name, machine_state(), slot_marks(slot, data)) == []
    assert processes.strays(layout) == []
    assert [path for path in data.parent.iterdir() if data.name in path.name] == []


def test_a_second_up_completes_one_that_was_killed_and_a_cluster_is_not_touched(
    data: Path, node_cluster: Cluster
) -> None:
    """I4, I2: the same command again finishes; the node of a cluster keeps its network."""
    with _start(data) as killed:
        _wait_for(mesh.layout_of(data).netns, killed)
        killed.send_signal(signal.SIGKILL)
    with _start(data) as again:
        assert again.wait(120) == 0

    found = mesh.up(data, progress=progress_to(), reachable_by_pods=True)
    client = mesh.ensure_client(found, "laptop", "developer@", progress_to())
    assert [node["givenName"] for node in found.admin().nodes()] == ["laptop"]
    assert client.status()["BackendState"] == "Running"
    mesh.down(data)

    assert node_cluster.netns.exists()
    assert _answers(node_cluster.host_address.removesuffix(".1") + ".2"), "the node's link is gone"


def test_no_other_machine_reaches_headscale(data: Path) -> None:
    """It listens in its namespace alone, which has a route to this machine and its nodes only."""
    found = mesh.up(data, progress=progress_to(), reachable_by_pods=True)

    routes = _output("ip", "-n", found.headscale.layout.netns.name, "route")
    pid = next(each.pid for each in processes.recorded(found.headscale.layout))
    listening = _output("ss", "--listening", "--tcp", "--udp", "--processes", "--no-header")

    assert {line.split()[0] for line in routes.splitlines()} == {
        "198.18.0.0/15",
        found.headscale.address.removesuffix("2") + "0/30",
    }
    assert f"pid={pid}," not in listening
    assert found.admin().is_healthy()


def _answers(address: str) -> bool:
    """Whether the host at `address` refuses or accepts a connection, and so answers."""
    try:
        socket.create_connection((address, 1), 5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
