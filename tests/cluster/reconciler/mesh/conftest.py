"""A cluster behind NAT: its API server listens on the loopback of one network, and the reconciler
runs in another, from which only the control server of the mesh can be reached. The policy of
`guildnet mesh policy` is in force."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from guildnet.mesh import CLUSTER_TAG, RECONCILER_TAG, cluster_peer_name, mesh_policy
from guildnet_cli.mesh.kubeconfig import over_mesh
from guildnet_devcluster import mesh, node_network, processes, teardown
from guildnet_devcluster.control_plane import free_ports
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.mesh_client import MeshClient
from guildnet_devcluster.progress import progress_to
from guildnet_operator.cluster_peer import ClusterPeer, peer_manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideClient(MeshClient):
    """A client in the network namespace of `layout`."""

    def _command(self, program: str, *arguments: str) -> list[str]:
        own = MeshClient._command(self, program, *arguments)
        return [*node_network.inside(self.layout), *own]


@dataclass(frozen=True)
class ApiPeer:
    """What the peer's pod runs, as processes of this machine."""

    layout: Layout
    programs: Path
    folder: Path
    peer: ClusterPeer

    def start(self, auth_key: str | None) -> None:
        """Start containerboot with the environment and the files of the manifests; with the state
        of its last start. `auth_key`: None for a Secret without one."""
        [deployment] = [o for o in peer_manifests(self.peer) if o["kind"] == "Deployment"]
        template = deployment["spec"]["template"]
        [container] = template["spec"]["containers"]
        files = self.folder / "files"
        files.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / "ca.crt", files / "ca.crt")
        (files / "serve.json").write_text(
            template["metadata"]["annotations"]["guildnet.io/mesh-serve"]
        )
        (files / "auth-key").unlink(missing_ok=True)
        if auth_key is not None:
            (files / "auth-key").write_text(auth_key)
        environment = {e["name"]: self._local(e["value"]) for e in container["env"]}
        environment |= {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "SSL_CERT_FILE": str(files / "ca.crt"),
            "TS_LOCAL_ADDR_PORT": f"127.0.0.1:{free_ports(1)[0]}",
            "TS_DISABLE_PORTMAPPER": "true",
            "TS_LOGS_DIR": str(self.folder),
            "TS_TAILSCALED_EXTRA_ARGS": "--port=0",
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), ""),
        }
        command = [str(self.programs / "containerboot")]
        processes.start(self.layout, "api-peer", command, environment)

    def _local(self, value: str) -> str:
        places = {
            "/var/lib/guildnet-mesh": "state",
            "/run/guildnet/mesh-files": "files",
            "/tmp": "tmp",
        }
        for name in places.values():
            (self.folder / name).mkdir(exist_ok=True)
        pattern = "|".join(map(re.escape, places))
        return re.sub(pattern, lambda found: str(self.folder / places[found[0]]), value)

    def stop(self) -> None:
        """As the kubelet does: SIGTERM, then the end."""
        found = [p for p in processes.recorded(self.layout) if p.name == "api-peer"]
        processes.stop(found, timedelta(seconds=20))
        processes.forget(self.layout)


@dataclass(frozen=True)
class BehindNat:
    """The cluster, its peer, and the reconciler's machine, a network namespace."""

    direct: Path
    mesh: Mesh
    peer: ApiPeer
    client: InsideClient
    layout: Layout

    def run(self, *command: str, within: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on the reconciler's machine."""
        return subprocess.run(
            [*node_network.inside(self.layout), *command],
            capture_output=True,
            check=False,
            text=True,
            timeout=within,
        )

    def stop_control_server(self) -> None:
        own = self.mesh.headscale.layout
        processes.stop(
            [p for p in processes.recorded(own) if p.name == "headscale"], timedelta(seconds=5)
        )

    def start_control_server(self) -> None:
        mesh.up(self.mesh.headscale.layout.data, progress=progress_to(), reachable_by_pods=True)

    def store_kubeconfig(self, folder: Path, scheme: str = "http") -> Path:
        """Write the kubeconfig over the mesh as `org add acme --mesh` stores it."""
        config = over_mesh(
            "acme",
            yaml.safe_load(self.direct.read_text()),
            proxy=f"{scheme}://{self.client.proxy}",
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "acme.config"
        path.write_text(json.dumps(config))
        return path


@pytest.fixture(scope="module")
def behind_nat(control_plane: Path) -> Iterator[BehindNat]:
    if os.geteuid() != 0:
        pytest.skip("a network namespace for the reconciler needs root")
    # Short, because paths of sockets are limited.
    with tempfile.TemporaryDirectory(prefix="gn-", dir="/tmp") as name:
        folder = Path(name)
        control, layout = (
            folder / f"t-nat-mesh-{os.getpid()}",
            mesh.layout_of(folder / f"t-nat-{os.getpid()}"),
        )
        layout.data.mkdir()
        try:
            found = mesh.up(control, progress=progress_to(), reachable_by_pods=True)
            node_network.build(layout, node_network.claim_slot(layout, 0), isolated=True)
            yield _joined(control_plane, found, layout)
        finally:
            teardown.tear_down(layout)
            mesh.down(control)


def _joined(control_plane: Path, found: Mesh, layout: Layout) -> BehindNat:
    admin = found.admin()
    user = admin.ensure_user("clusters@")
    admin.set_policy(json.dumps(mesh_policy({})))
    server = urlsplit(yaml.safe_load(control_plane.read_text())["clusters"][0]["cluster"]["server"])
    peer = ApiPeer(
        layout=layout,
        programs=found.programs,
        folder=layout.data / "api-peer",
        peer=ClusterPeer(
            org="acme",
            namespace="agents",
            image="unused",
            login_server=found.login_server,
            api_server_ports=(443,),
            api_server=server.netloc,
        ),
    )
    peer.folder.mkdir()
    shutil.copy(found.ca, peer.folder / "ca.crt")
    peer.start(admin.create_auth_key(user, tags=[CLUSTER_TAG], ephemeral=False))
    client = InsideClient(
        layout=layout,
        programs=found.programs,
        name="reconciler",
        login_server=found.login_server,
        ca=found.ca,
        proxy_port=free_ports(1)[0],
    )
    client.start()
    client.join(admin.create_auth_key(user, tags=[RECONCILER_TAG], ephemeral=False))
    whole = BehindNat(control_plane, found, peer, client, layout)
    processes.wait_for(
        f"the peer {cluster_peer_name('acme')}",
        lambda: client.run("status", "--json").find('"acme-api"') > 0,
        layout,
        processes.recorded(layout),
        timedelta(seconds=60),
    )
    return whole
