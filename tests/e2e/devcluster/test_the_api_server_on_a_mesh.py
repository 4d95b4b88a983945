"""`org install --mesh` on a node: the peer's pod serves the API server, and keeps its name."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from guildnet import labels
from guildnet.errors import ConfigurationError, KubeError
from guildnet.kube import KubeClient
from guildnet.mesh import CLUSTER_TAG
from guildnet_cli.cluster import installation
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.mesh import cluster_peer
from guildnet_cli.mesh.kubeconfig import over_mesh
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.mesh_client import MeshClient

Kubectl = Callable[..., str]
NAME = "guildnet-mesh-agents"
SYSTEM = labels.OPERATOR_NAMESPACE
WITHIN = timedelta(seconds=120)


def installed(cluster: OrgCluster, mesh: Mesh, image: str) -> list[dict[str, Any]]:
    """Apply what `org install --mesh` applies after the operator."""

    async def run() -> list[dict[str, Any]]:
        objects = await cluster_peer.wanted_peer(
            cluster, login_server=mesh.login_server, image=image, is_new=True
        )
        await cluster_peer.check_key(cluster, objects)
        await installation.install(cluster, objects, WITHIN)
        return objects

    return asyncio.run(run())


def answers(kubeconfig: Path, within: float = 60) -> str:
    """The version of the API server, once it answers."""

    async def version() -> str:
        async with KubeClient.from_kubeconfig(kubeconfig) as client:
            return await client.version()

    end = time.monotonic() + within
    while True:
        try:
            return asyncio.run(version())
        except KubeError:
            if time.monotonic() > end:
                raise


@pytest.fixture
def org(node_cluster: Cluster, kubectl: Kubectl) -> Iterator[OrgCluster]:
    system = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": {
        "pod-security.kubernetes.io/enforce": "restricted"}}}  # fmt: skip
    kubectl(node_cluster.kubeconfig, "apply", "-f", "-", manifest=system)
    yield OrgCluster("acme", node_cluster.kubeconfig, None, "agents")
    kubectl(node_cluster.kubeconfig, "delete", "namespace", SYSTEM, "--timeout=90s")


def secret(mesh: Mesh, auth_key: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "namespace": SYSTEM, "labels": {labels.USE: "mesh"}},
        "stringData": {"auth-key": auth_key, "ca.crt": mesh.ca.read_text()},
    }


def test_the_peer_serves_the_api_server_and_survives_its_pod(
    org: OrgCluster, pod_mesh: Mesh, mesh_image: str, kubectl: Kubectl, tmp_path: Path
) -> None:
    admin = pod_mesh.admin()
    user = admin.ensure_user("api-peer@")
    with pytest.raises(ConfigurationError, match="needs an auth key"):
        installed(org, pod_mesh, mesh_image)
    key = admin.create_auth_key(user, tags=[CLUSTER_TAG], ephemeral=False)
    kubectl(org.kubeconfig, "apply", "-f", "-", manifest=secret(pod_mesh, key))

    installed(org, pod_mesh, mesh_image)

    client = pod_mesh.join("api-client", admin.create_auth_key(user))
    try:
        far = kubeconfig(org, client, tmp_path)
        assert answers(far).startswith("v1.")
        before = node(pod_mesh)
        forwarded(far, kubectl(org.kubeconfig, "-n", SYSTEM, "get", "pods", "-o", "name").strip())

        # The key is spent: the new pod can join by its state alone.
        kubectl(org.kubeconfig, "-n", SYSTEM, "delete", "pods", "--all", "--timeout=60s")
        assert answers(far).startswith("v1.")
        assert node(pod_mesh)["id"] == before["id"]

        again = kubectl(org.kubeconfig, "-n", SYSTEM, "get", "deploy", NAME, "-o", "yaml")
        installed(over(org, far), pod_mesh, mesh_image)
        now = kubectl(org.kubeconfig, "-n", SYSTEM, "get", "deploy", NAME, "-o", "yaml")
        assert (
            yaml.safe_load(now)["metadata"]["generation"]
            == (yaml.safe_load(again)["metadata"]["generation"])
        )
    finally:
        client.stop()
    asyncio.run(cluster_peer.remove_peer(org, WITHIN))
    left = kubectl(org.kubeconfig, "-n", SYSTEM, "get", "deploy,pvc,netpol", "-o", "name")
    assert left == ""


def kubeconfig(org: OrgCluster, client: MeshClient, folder: Path) -> Path:
    own = yaml.safe_load(org.kubeconfig.read_text())
    path = folder / "far.config"
    path.write_text(yaml.safe_dump(over_mesh("acme", own, proxy=f"http://{client.proxy}")))
    return path


def over(org: OrgCluster, kubeconfig: Path) -> OrgCluster:
    return OrgCluster(org.org, kubeconfig, None, org.namespace)


def node(mesh: Mesh) -> dict[str, Any]:
    [found] = [n for n in mesh.admin().nodes() if n["givenName"] == "acme-api"]
    return found


def forwarded(kubeconfig: Path, pod: str) -> None:
    """`kubectl port-forward`, which `guildnet editor` uses, works through the mesh."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    command = [kubectl, "--kubeconfig", str(kubeconfig), "-n", SYSTEM, "port-forward", pod, ":9002"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().split(" -> ")[0].rpartition(":")[2]
            answer = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=30)
            assert answer.status_code == 200
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
