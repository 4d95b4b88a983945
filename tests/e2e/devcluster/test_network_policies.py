"""A devcluster's node enforces NetworkPolicies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guildnet_devcluster import cluster
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.progress import progress_to

Kubectl = Callable[..., str]
NAMESPACE = "closed"
KUBELET = 10250
LISTEN = (
    "import http.server as h;"
    " h.ThreadingHTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"
)
#: Prints for each HOST:PORT whether a connection succeeds.
CONNECT = """
import socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 2).close()
        print("open")
    except OSError:
        print("closed")
"""


def server(name: str) -> dict[str, Any]:
    container = {"name": "server", "image": "localhost/t-python:1", "args": ["-c", LISTEN]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def policy(**spec: Any) -> dict[str, Any]:
    """A policy for the pod `agent`."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "agent"},
        "spec": {"podSelector": {"matchLabels": {"app": "agent"}}, **spec},
    }


class Pods:
    """Two pods, `agent` and `other`, that serve on port 8000 and connect to other servers."""

    def __init__(self, found: Cluster, kubectl: Kubectl) -> None:
        self._found, self._kubectl = found, kubectl

    def run(self, *arguments: str, manifest: object = None) -> str:
        namespaced = ("-n", NAMESPACE, *arguments)
        return self._kubectl(self._found.kubeconfig, *namespaced, manifest=manifest)

    def address(self, pod: str) -> str:
        return self.run("get", "pod", pod, "-o", "jsonpath={.status.podIP}")

    def connect(self, pod: str, *targets: str) -> list[str]:
        return self.run("exec", pod, "--", "/python", "-c", CONNECT, *targets).split()

    def until(self, expected: list[str], pod: str, *targets: str) -> None:
        """Wait for the expected results: policies take effect shortly after they are stored."""
        deadline = time.monotonic() + 20
        while (found := self.connect(pod, *targets)) != expected:
            assert time.monotonic() < deadline, f"{targets} from {pod}: {found}, not {expected}"


@pytest.fixture
def pods(node_cluster: Cluster, python_image: Path, kubectl: Kubectl) -> Iterator[Pods]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(node_cluster.data.parent.parent))
        cluster.load_image(node_cluster.name, python_image, progress_to())
    found = Pods(node_cluster, kubectl)
    kubectl(node_cluster.kubeconfig, "create", "namespace", NAMESPACE)
    for name in ("agent", "other"):
        found.run("apply", "-f", "-", manifest=server(name))
    found.run("wait", "pod", "--all", "--for=condition=Ready", "--timeout=90s")
    yield found
    kubectl(node_cluster.kubeconfig, "delete", "namespace", NAMESPACE, "--timeout=60s")


def test_traffic_that_no_policy_allows_is_blocked(pods: Pods, node_cluster: Cluster) -> None:
    """I9: an agent reaches only allowed targets, not the API server, the node or another pod."""
    agent, other = pods.address("agent"), pods.address("other")
    node = str(node_cluster.host_address).rsplit(".", 1)[0] + ".2"
    targets = (f"{other}:8000", "10.96.0.1:443", f"{node}:{KUBELET}")
    pods.until(["open", "open", "open"], "agent", *targets)

    pods.run("apply", "-f", "-", manifest=policy(policyTypes=["Egress"], egress=[]))
    pods.until(["closed", "closed", "closed"], "agent", *targets)
    assert pods.connect("other", f"{agent}:8000", *targets[1:]) == ["open", "open", "open"]

    to_other = {"to": [{"podSelector": {"matchLabels": {"app": "other"}}}]}
    allowed = {**to_other, "ports": [{"protocol": "TCP", "port": 8000}]}
    pods.run("apply", "-f", "-", manifest=policy(policyTypes=["Egress"], egress=[allowed]))
    pods.until(["open", "closed", "closed"], "agent", *targets)

    pods.run("apply", "-f", "-", manifest=policy(policyTypes=["Ingress"], ingress=[]))
    pods.until(["closed"], "other", f"{agent}:8000")
    pods.until(["open", "open", "open"], "agent", *targets)

    pods.run("delete", "networkpolicy", "agent")
    pods.until(["open"], "other", f"{agent}:8000")
