"""The mesh image in a real pod, as unprivileged as pods can be, on a real Headscale."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from guildnet_devcluster import cluster
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.mesh_client import MeshClient
from guildnet_devcluster.progress import progress_to

Kubectl = Callable[..., str]
SERVE = (
    "import http.server as h; h.ThreadingHTTPServer(('127.0.0.1', 8000),"
    " h.SimpleHTTPRequestHandler).serve_forever()"
)
NAME = "image-pod"
RESTRICTED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _manifests(mesh: Mesh, image: str, auth_key: str) -> list[dict[str, Any]]:
    """A pod with a web server on its loopback, which its peer serves; it reaches only Headscale."""
    meta = {"name": NAME, "namespace": NAME, "labels": {"app": NAME}}
    environment = {
        "TS_AUTHKEY": "file:/keys/auth-key",
        "TS_EXTRA_ARGS": f"--login-server={mesh.login_server}",
        "TS_HOSTNAME": NAME,
        "TS_KUBE_SECRET": "",
        "TS_SERVE_CONFIG": "/keys/serve.json",
        "SSL_CERT_FILE": "/keys/ca.crt",
    }
    peer = {
        "name": "mesh",
        "image": image,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "securityContext": {**RESTRICTED, "runAsUser": 10003, "runAsGroup": 10000},
        "volumeMounts": [
            {"name": "keys", "mountPath": "/keys", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    server = {
        "name": "server",
        "image": "localhost/t-python:1",
        "args": ["-c", SERVE],
        "workingDir": "/",
        "securityContext": {**RESTRICTED, "runAsUser": 10002, "runAsGroup": 10000},
    }
    volumes = [
        {"name": "keys", "secret": {"secretName": NAME}},
        {"name": "tmp", "emptyDir": {"medium": "Memory"}},
    ]
    control_server = {"ipBlock": {"cidr": f"{mesh.headscale.address}/32"}}
    keys = {
        "auth-key": auth_key,
        "ca.crt": mesh.ca.read_text(),
        "serve.json": '{"TCP": {"8443": {"TCPForward": "127.0.0.1:8000"}}}',
    }
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": labels}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": keys},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": meta,
            "spec": {
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "egress": [{"to": [control_server], "ports": [{"protocol": "TCP", "port": 443}]}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 2,
                "containers": [peer, server],
                "volumes": volumes,
            },
        },
    ]


def test_a_restricted_pod_serves_a_port_on_the_mesh_through_the_relay_alone(
    node_cluster: Cluster,
    pod_mesh: Mesh,
    mesh_image: str,
    python_image: Path,
    kubectl: Kubectl,
) -> None:
    """No capability, no writable root, no tun device, and egress to the control server only."""
    kubeconfig = node_cluster.kubeconfig
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(node_cluster.data.parents[1]))
        cluster.load_image(node_cluster.name, python_image, progress_to())
    admin = pod_mesh.admin()
    user = admin.ensure_user("image@")
    client = pod_mesh.join("image-client", admin.create_auth_key(user))
    manifests = _manifests(pod_mesh, mesh_image, admin.create_auth_key(user))
    try:
        for manifest in manifests:
            kubectl(kubeconfig, "apply", "-f", "-", manifest=manifest)

        address = _address(pod_mesh, NAME)
        text = _page(client, f"http://{address}:8443/")
        ping = client.run("ping", "--c=1", "--until-direct=false", "--timeout=20s", address)
    finally:
        kubectl(kubeconfig, "delete", "namespace", NAME, "--ignore-not-found", "--timeout=90s")
        client.stop()

    # Its state was in memory alone, so it has logged out.
    assert NAME not in {node["givenName"] for node in admin.nodes()}
    assert "Directory listing" in text
    assert "via DERP(devcluster)" in ping


def _page(client: MeshClient, url: str) -> str:
    """What the pod's server answers; its peer may be online before it listens."""
    deadline = time.monotonic() + 60
    with httpx.Client(proxy=f"http://{client.proxy}", trust_env=False, timeout=60) as http:
        while not (answer := http.get(url)).is_success and time.monotonic() < deadline:
            time.sleep(0.2)
    return answer.text


def _address(mesh: Mesh, name: str) -> str:
    """The IPv4 address of the peer `name`, once it is online."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        for node in mesh.admin().nodes():
            if node["givenName"] == name and node["online"]:
                return str(node["ipAddresses"][0])
        time.sleep(0.2)
    raise AssertionError(f"no peer {name}: {mesh.admin().nodes()}")
