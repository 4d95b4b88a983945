"""A NetworkPolicy on a devcluster's node is kept, not only stored."""

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
#: Says of each place in turn whether a connection to it is answered.
KNOCK = """
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
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
    """One on the pod `agent`."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "agent"},
        "spec": {"podSelector": {"matchLabels": {"app": "agent"}}, **spec},
    }


class Pods:
    """Two pods, `agent` and `other`, that serve on port 8000 and knock at doors."""

    def __init__(self, found: Cluster, kubectl: Kubectl) -> None:
        self._found, self._kubectl = found, kubectl

    def run(self, *arguments: str, manifest: object = None) -> str:
        words = ("-n", NAMESPACE, *arguments)
        return self._kubectl(self._found.kubeconfig, *words, manifest=manifest)

    def address(self, pod: str) -> str:
        return self.run("get", "pod", pod, "-o", "jsonpath={.status.podIP}")

    def knock(self, pod: str, *places: str) -> list[str]:
        return self.run("exec", pod, "--", "/python", "-c", KNOCK, *places).split()

    def until(self, expected: list[str], pod: str, *places: str) -> None:
        """Policies come into force a moment after they are stored; 20 s is far more."""
        deadline = time.monotonic() + 20
        while (found := self.knock(pod, *places)) != expected:
            assert time.monotonic() < deadline, f"{places} from {pod}: {found}, not {expected}"


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


def test_what_a_policy_does_not_open_is_closed(pods: Pods, node_cluster: Cluster) -> None:
    """I9: an agent reaches its openings alone; not the API server, the node, or another pod."""
    agent, other = pods.address("agent"), pods.address("other")
    node = str(node_cluster.host_address).rsplit(".", 1)[0] + ".2"
    doors = (f"{other}:8000", "10.96.0.1:443", f"{node}:{KUBELET}")
    pods.until(["open", "open", "open"], "agent", *doors)

    pods.run("apply", "-f", "-", manifest=policy(policyTypes=["Egress"], egress=[]))
    pods.until(["closed", "closed", "closed"], "agent", *doors)
    assert pods.knock("other", f"{agent}:8000", *doors[1:]) == ["open", "open", "open"]

    to_other = {"to": [{"podSelector": {"matchLabels": {"app": "other"}}}]}
    opened = {**to_other, "ports": [{"protocol": "TCP", "port": 8000}]}
    pods.run("apply", "-f", "-", manifest=policy(policyTypes=["Egress"], egress=[opened]))
    pods.until(["open", "closed", "closed"], "agent", *doors)

    pods.run("apply", "-f", "-", manifest=policy(policyTypes=["Ingress"], ingress=[]))
    pods.until(["closed"], "other", f"{agent}:8000")
    pods.until(["open", "open", "open"], "agent", *doors)

    pods.run("delete", "networkpolicy", "agent")
    pods.until(["open"], "other", f"{agent}:8000")
