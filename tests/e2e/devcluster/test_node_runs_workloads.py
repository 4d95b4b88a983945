"""A devcluster's node supports everything that GuildNet requires of a cluster."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guildnet_devcluster import cluster
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.progress import progress_to

IMAGE = "localhost/t-python:1"
Kubectl = Callable[..., str]
SERVE = (
    "import http.server as h, os; os.chdir('/data');"
    " h.ThreadingHTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"
)


def _deployment(program: str) -> dict[str, Any]:
    """A server under the `restricted` Pod Security Standard that writes to its volume."""
    container = {
        "name": "server",
        "image": IMAGE,
        "args": ["-u", "-c", program],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
    }
    pod = {
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10002,
            "fsGroup": 10000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    labels = {"app": "server"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "server"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


def _manifests(program: str) -> dict[str, Any]:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [claim, service, _deployment(program)]}


@pytest.fixture
def host_server(node_cluster: Cluster) -> Iterator[str]:
    """The URL of a server on the host, at the address that pods can reach."""

    class Greeting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from the host")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((node_cluster.host_address, 0), Greeting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{node_cluster.host_address}:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_deployment_service_volume_logs_exec_and_host_access(
    node_cluster: Cluster, python_image: Path, kubectl: Kubectl, host_server: str
) -> None:
    """One restricted pod uses every feature that the operator and the agent require."""
    cluster_file = node_cluster.kubeconfig
    import_image(node_cluster, python_image)
    kubectl(cluster_file, "create", "namespace", "work")
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    kubectl(cluster_file, "label", "namespace", "work", restricted)
    program = f"open('/data/index.html', 'w').write('from the volume'); print('up'); {SERVE}"
    kubectl(cluster_file, "-n", "work", "apply", "-f", "-", manifest=_manifests(program))
    kubectl(cluster_file, "-n", "work", "rollout", "status", "deployment/server", "--timeout=90s")

    in_pod = ("-n", "work", "exec", "deployment/server", "--", "/python", "-c")
    fetch = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    address = kubectl(
        cluster_file, "-n", "work", "get", "service", "server", "-o", "jsonpath={.spec.clusterIP}"
    )
    through_service = kubectl(cluster_file, *in_pod, fetch, f"http://{address}/index.html")
    from_host = kubectl(cluster_file, *in_pod, fetch, host_server)
    connect = "import os, socket; socket.create_connection((os.environ['KUBERNETES_SERVICE_HOST']"
    kubectl(cluster_file, *in_pod, f"{connect}, 443), 5)")
    proxied = kubectl(
        cluster_file, "get", "--raw", "/api/v1/namespaces/work/services/server:80/proxy/index.html"
    )

    assert through_service.strip() == "from the volume"
    assert from_host.strip() == "hello from the host"
    assert proxied == "from the volume"
    assert "up" in kubectl(cluster_file, "-n", "work", "logs", "deployment/server")
    path = kubectl(cluster_file, "get", "pv", "-o", "jsonpath={.items[0].spec.hostPath.path}")
    # A node may see the host's folder of volumes elsewhere.
    volume = node_cluster.data / "volumes" / Path(path).name
    assert (volume / "index.html").read_text() == "from the volume"

    kubectl(cluster_file, "delete", "namespace", "work", "--timeout=60s")
    kubectl(cluster_file, "wait", "pv", "--all", "--for=delete", "--timeout=60s")
    assert not volume.exists()


def import_image(into: Cluster, archive: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(into.data.parent.parent))
        cluster.load_image(into.name, archive, progress_to())
