"""A control plane without a node: real, quick, several at once, and gone without a trace."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster import cluster, processes, teardown
from guildnet_devcluster.kube_client import KubeClient
from guildnet_devcluster.layout import ClusterRecord, Layout
from guildnet_devcluster.progress import progress_to


@pytest.fixture
def name() -> Iterator[str]:
    """A cluster's name of this test's own, down at the end whatever happened."""
    name = f"t-own-{os.getpid()}"
    yield name
    cluster.down(name)


def test_it_is_a_whole_api(control_plane: Path) -> None:
    """Namespaces, accounts and garbage collection work: the controllers run too."""
    api = KubeClient(control_plane)
    assert api.is_ready()
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    assert api.exists(account)
    assert api.request("GET", "/version")[1]["gitVersion"].startswith("v1.")


def test_strangers_are_turned_away(control_plane: Path) -> None:
    """I8: without the administrator's certificate there is nothing to read."""
    import http.client
    import json
    import ssl
    from urllib.parse import urlsplit

    server = json.loads(control_plane.read_text())["clusters"][0]["cluster"]["server"]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(urlsplit(server).netloc, context=context, timeout=10)
    connection.request("GET", "/api/v1/namespaces")
    assert connection.getresponse().status in (401, 403)
    connection.close()


def test_up_crash_up_keeps_data_and_down_leaves_nothing(name: str) -> None:
    """A kill -9 of everything costs a restart, not the data; `down` ends and deletes all."""
    first = cluster.up(name, node=False, progress=progress_to())
    layout = Layout.of(name)
    started = processes.recorded(layout)
    assert cluster.up(name, node=False, progress=progress_to()) == first
    assert processes.recorded(layout) == started, "an up of what is up starts nothing"
    kept = {"metadata": {"name": "kept"}}
    KubeClient(first.kubeconfig).ensure("/api/v1/namespaces/default/configmaps", kept)

    for process in started:
        os.kill(process.pid, signal.SIGKILL)
    broken = [status for status in cluster.status() if status.name == name]
    assert not broken[0].is_whole
    assert not broken[0].is_ready

    again = cluster.up(name, node=False, progress=progress_to())
    assert again == first, "the address and the kubeconfig's path stay"
    assert KubeClient(again.kubeconfig).exists("/api/v1/namespaces/default/configmaps/kept")
    assert [status.is_whole for status in cluster.status()] == [True]

    record = ClusterRecord.read(layout)
    running = processes.recorded(layout)
    cluster.down(name)
    assert record is not None
    assert [process for process in running if process.is_alive] == []
    assert processes.strays(layout) == []
    assert teardown.mounts_of(layout) == []
    assert list(layout.data.parent.iterdir()) == []
    for port in (record.api_port, record.etcd_port, record.etcd_peer_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_down_of_nothing_is_done(name: str) -> None:
    """Ending twice is no error."""
    cluster.down(name)
    cluster.down(name)


def test_a_cluster_without_a_node_takes_no_image(name: str, tmp_path: Path) -> None:
    """I10: what is missing, where, and what to do."""
    with pytest.raises(ConfigurationError, match="no such cluster"):
        cluster.load_image(name, tmp_path / "image.tar", progress_to())
    layout = Layout.of(name)
    ClusterRecord(api_port=1, etcd_port=2, etcd_peer_port=3, has_node=False, slot=0).write(layout)
    with pytest.raises(ConfigurationError, match="no node") as failure:
        cluster.load_image(name, tmp_path / "image.tar", progress_to())
    assert failure.value.cure == "run up without --no-node"
