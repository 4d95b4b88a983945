"""A Kubernetes cluster of Talos machines, from nothing: works, survives reboots, is private."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.e2e.devcluster.test_network_policies import (
    pods,
    test_traffic_that_no_policy_allows_is_blocked,
)
from tests.e2e.devcluster.test_node_runs_workloads import (
    host_server,
    test_deployment_service_volume_logs_exec_and_host_access,
)

from guildnet.errors import GuildNetError
from guildnet_devcluster import cluster, node, processes
from guildnet_devcluster.kube_client import KubeClient
from guildnet_devcluster.progress import progress_to
from guildnet_devcluster.talos import kubernetes
from guildnet_devcluster.talos.site import Site

__all__ = [
    "host_server",
    "pods",
    "test_deployment_service_volume_logs_exec_and_host_access",
    "test_traffic_that_no_policy_allows_is_blocked",
]


@pytest.fixture(autouse=True)
def state(kubernetes_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(kubernetes_site.layout.data.parents[1]))


def test_an_up_that_was_killed_while_it_started_etcd_is_finished_by_the_next(
    kubernetes_site: Site,
) -> None:
    """etcd runs once, every node is Ready, and a third `up` changes nothing."""
    lab = kubernetes_site
    status = {each.name: each for each in cluster.status()}[lab.layout.name]
    assert status.is_whole, status
    assert status.is_node_ready
    members = _talosctl(lab, "etcd", "members").splitlines()
    assert len(members) == 2, members
    before = processes.recorded(lab.layout)
    assert kubernetes.up(lab.layout.name, workers=1, progress=progress_to()) == status.kubeconfig
    assert processes.recorded(lab.layout) == before


def test_keys_are_readable_by_their_owner_only(kubernetes_site: Site) -> None:
    """I8: by default `talosctl gen config` writes files that everybody may read."""
    folder = kubernetes_site.layout.data / "talos"
    files = [*folder.iterdir(), kubernetes_site.layout.kubeconfig]
    assert {"secrets.yaml", "talosconfig", "cp1.yaml", "worker1.yaml"} <= {f.name for f in files}
    with_content = [file for file in files if file.stat().st_size]
    for file in (folder, *with_content):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_pods_reach_this_host_but_nothing_beyond(
    kubernetes_site: Site, python_image: Path, kubectl: Callable[..., str]
) -> None:
    """Machines have no way out through the host's other interfaces."""
    lab = kubernetes_site
    cluster.load_image(lab.layout.name, python_image, progress_to())
    outside = "198.51.100.1"
    program = (
        "import socket\n"
        f"try: socket.create_connection(('{outside}', 80), 3); print('open')\n"
        "except ConnectionRefusedError: print('refused')\n"
        "except OSError as error: print(error)"
    )
    config = lab.layout.kubeconfig
    container = {"name": "c", "image": "localhost/t-python:1", "args": ["-c", program]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "outwards"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    kubectl(config, "apply", "-f", "-", manifest=pod)
    done = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl(config, "wait", "pod", "outwards", done, "--timeout=90s")
    # The host refuses to forward it: port unreachable.
    assert kubectl(config, "logs", "outwards").strip() == "refused"
    kubectl(config, "delete", "pod", "outwards")


def test_the_cluster_survives_a_reboot_of_every_machine(kubernetes_site: Site) -> None:
    """Configuration and data are kept; the machines come back without help."""
    lab = kubernetes_site
    api = KubeClient(lab.layout.kubeconfig)
    api.ensure("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "kept"}})
    before = _starts(api)
    assert before

    def has_restarted() -> bool:
        now = _starts(api)
        return bool(now) and not now & before

    lab.reboot(*lab.machines)
    processes.wait_for(
        "pods that have started since the reboot, on ready nodes",
        lambda: node.are_ready(api, len(lab.machines)) and has_restarted(),
        lab.layout,
        (),
        timedelta(minutes=5),
    )
    assert api.exists("/api/v1/namespaces/default/configmaps/kept")


def _starts(api: KubeClient) -> set[str]:
    """When each container of the system's pods was started, as its node reports."""
    try:
        found, _ = api.items("/api/v1/namespaces/kube-system/pods")
    except GuildNetError:
        return set()
    return {
        f"{pod['metadata']['name']} {each['state']['running']['startedAt']}"
        for pod in found
        for each in pod["status"].get("containerStatuses", ())
        if "running" in each["state"]
    }


def _talosctl(lab: Site, *arguments: str) -> str:
    command = [str(lab.talosctl), "--talosconfig", str(kubernetes.talosconfig(lab)), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
