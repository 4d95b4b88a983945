"""A control plane without a node: works, starts fast, and leaves nothing behind."""

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
    """The name of a cluster that is removed after the test."""
    name = f"t-own-{os.getpid()}"
    yield name
    cluster.down(name)


def test_api_and_controllers_work(control_plane: Path) -> None:
    """Namespaces and service accounts work, so the controllers are running too."""
    api = KubeClient(control_plane)
    assert api.is_ready()
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    assert api.exists(account)
    assert api.request("GET", "/version")[1]["gitVersion"].startswith("v1.")


def test_unauthenticated_requests_are_refused(control_plane: Path) -> None:
    """I8: without a client certificate nothing can be read."""
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


def test_data_survives_a_crash_and_down_removes_everything(name: str) -> None:
    """Data survives SIGKILL of every process; `down` stops and deletes everything."""
    first = cluster.up(name, node=False, progress=progress_to())
    layout = Layout.of(name)
    started = processes.recorded(layout)
    assert cluster.up(name, node=False, progress=progress_to()) == first
    assert processes.recorded(layout) == started, "up of a running cluster starts nothing"
    kept = {"metadata": {"name": "kept"}}
    KubeClient(first.kubeconfig).ensure("/api/v1/namespaces/default/configmaps", kept)

    for process in started:
        os.kill(process.pid, signal.SIGKILL)
    broken = [status for status in cluster.status() if status.name == name]
    assert not broken[0].is_whole
    assert not broken[0].is_ready

    again = cluster.up(name, node=False, progress=progress_to())
    assert again == first, "address and kubeconfig path are kept"
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


def test_down_without_a_cluster(name: str) -> None:
    """Repeating `down` is not an error."""
    cluster.down(name)
    cluster.down(name)


def test_images_require_a_node(name: str, tmp_path: Path) -> None:
    """I10: the error names what is missing and what to do."""
    with pytest.raises(ConfigurationError, match="does not exist"):
        cluster.load_image(name, tmp_path / "image.tar", progress_to())
    layout = Layout.of(name)
    ClusterRecord(api_port=1, etcd_port=2, etcd_peer_port=3, has_node=False, slot=0).write(layout)
    with pytest.raises(ConfigurationError, match="no node") as failure:
        cluster.load_image(name, tmp_path / "image.tar", progress_to())
    assert failure.value.cure == "Run up without --no-node."
