"""The cluster's node: containerd, kubelet and kube-proxy, in the node's network namespace."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from guildnet.errors import ConfigurationError, GuildNetError

from . import (
    cgroups,
    components,
    docker_archive,
    image_seed,
    node_files,
    node_network,
    processes,
)
from .containerd import Containerd
from .control_plane import component_kubeconfig
from .images import ImageRef
from .kube_client import KubeClient
from .layout import Layout
from .node_network import NodeNetwork
from .packages import NODE_PACKAGES, ensure_packages
from .pki import Authority, write_private
from .processes import Process
from .progress import Progress

_ALTERNATIVES = "Start only the control plane with --no-node, or use another cluster's kubeconfig."
#: Long enough for a machine that compiles or starts several clusters at the same time.
_READY_TIMEOUT = timedelta(seconds=180)


@dataclass(frozen=True, slots=True)
class Programs:
    """The folders of the compiled programs."""

    kubernetes: Path
    containerd: Path
    runc: Path
    pause: Path

    @classmethod
    def ensure(cls, progress: Progress) -> Programs:
        """Build missing programs, and install the packages that a node requires."""
        ensure_packages(NODE_PACKAGES, progress)
        names = ("kubernetes", "containerd", "runc", "pause")
        return cls(*(components.ensure(name, progress) for name in names))


#: The limit for the path of a Unix socket, in bytes (unix(7)).
MAX_SOCKET_PATH = 107


def check_machine() -> None:
    """Raises ConfigurationError, naming the alternatives, if this machine cannot run a node."""
    if not sys.platform.startswith("linux"):
        why = f"a node requires Linux; this is {platform.system()}"
    elif os.geteuid() != 0:
        why = "a node requires root"
    else:
        return
    raise ConfigurationError(why, place="devcluster", cure=_ALTERNATIVES)


def check_socket_paths(layout: Layout) -> None:
    """Raises ConfigurationError if the paths of the kubelet's sockets would be too long."""
    longest = _kubelet_root(layout) / "pod-resources" / "kubelet.sock"
    excess = len(os.fsencode(longest)) - MAX_SOCKET_PATH
    if excess > 0:
        raise ConfigurationError(
            f"the path is {excess} bytes too long for the kubelet's sockets",
            place=str(layout.data),
            cure="Set GUILDNET_STATE_DIR to a shorter path, or choose a shorter cluster name.",
        )


def _kubelet_root(layout: Layout) -> Path:
    return layout.node / "kubelet"


def start(
    layout: Layout,
    net: NodeNetwork,
    programs: Programs,
    *,
    authority: Authority,
    server: str,
    containerd: Process,
) -> None:
    """Start the other programs, and wait until the node is ready for pods.

    Raises GuildNetError if it does not become ready.
    """
    processes.wait_for(
        "answer from containerd",
        containerd_of(layout, programs).is_answering,
        layout,
        [containerd],
        _READY_TIMEOUT,
    )
    _import_pause(layout, programs)
    kubelet = _start_kubelet(layout, net, programs, authority, server)
    proxy = _start_proxy(layout, net, programs, authority, server)
    api = KubeClient(layout.kubeconfig)
    provisioner = _start_provisioner(layout)
    policies = _start_policies(layout, net)
    processes.wait_for(
        "ready node",
        lambda: is_ready(api, layout.name),
        layout,
        [containerd, proxy, provisioner, policies, kubelet],
        _READY_TIMEOUT,
    )


def is_ready(api: KubeClient, name: str) -> bool:
    """Whether the API server reports node `name` as ready."""
    try:
        status, node = api.request("GET", f"/api/v1/nodes/{name}")
    except GuildNetError:
        return False
    return status == 200 and _has_ready_condition(node)


def are_ready(api: KubeClient, count: int) -> bool:
    """Whether the API server reports `count` nodes, of any names, and all of them as ready."""
    try:
        nodes, _ = api.items("/api/v1/nodes")
    except GuildNetError:
        return False
    return len(nodes) == count > 0 and all(map(_has_ready_condition, nodes))


def _has_ready_condition(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def containerd_of(layout: Layout, programs: Programs) -> Containerd:
    """A client for the node's containerd."""
    return Containerd(programs.containerd, layout.containerd_socket)


def seed_images(
    layout: Layout, programs: Programs, images: Sequence[ImageRef], progress: Progress
) -> None:
    """Seed a new node with images, before its containerd starts."""
    root = node_files.containerd_root(layout)
    if images and not root.exists():
        image_seed.copy_to(root, programs.containerd, images, progress)


def start_containerd(layout: Layout, net: NodeNetwork, programs: Programs) -> Process:
    """Start containerd in the node's network. It needs no API server, so it can start first."""
    cgroups.create(layout.cgroup)
    layout.runtime.mkdir(parents=True, exist_ok=True, mode=0o711)
    cni = layout.node / "cni"
    cni.mkdir(parents=True, exist_ok=True)
    (cni / "10-guildnet.conflist").write_text(node_files.cni_config(layout, net))
    config = layout.node / "containerd.toml"
    config.write_text(node_files.containerd_config(layout, programs.runc / "runc"))
    # containerd finds its shim on PATH, and CNI plugins find iptables there.
    path = f"{programs.containerd}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    argv = [*node_network.inside(layout), str(programs.containerd / "containerd"), "--config"]
    return processes.start(layout, "containerd", [*argv, str(config)], {"PATH": path})


def _start_kubelet(
    layout: Layout, net: NodeNetwork, programs: Programs, authority: Authority, server: str
) -> Process:
    user = (f"system:node:{layout.name}", ["system:nodes"])
    kubeconfig = component_kubeconfig(layout, authority, server, "kubelet", user)
    # The API server connects to the node by address and verifies it in the certificate.
    serving = authority.issue(
        "kubelet-serving", f"system:node:{layout.name}", names=[layout.name, net.node_address]
    )
    config = layout.node / "kubelet.json"
    write_private(config, node_files.kubelet_config(layout, authority.own.certificate, serving))
    flags = [
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={_kubelet_root(layout)}",
        f"--hostname-override={layout.name}",
        f"--node-ip={net.node_address}",
    ]
    argv = [*node_network.inside(layout), str(programs.kubernetes / "kubelet"), *flags]
    return processes.start(layout, "kubelet", argv)


def _start_proxy(
    layout: Layout, net: NodeNetwork, programs: Programs, authority: Authority, server: str
) -> Process:
    user: tuple[str, list[str]] = ("system:kube-proxy", [])
    kubeconfig = component_kubeconfig(layout, authority, server, "kube-proxy", user)
    flags = [
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={layout.name}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={net.pod_subnet}",
        # Keep the machine's own limit, which often cannot be changed.
        "--conntrack-max-per-core=0",
    ]
    argv = [*node_network.inside(layout), str(programs.kubernetes / "kube-proxy"), *flags]
    return processes.start(layout, "kube-proxy", argv)


def _start_provisioner(layout: Layout) -> Process:
    module = [sys.executable, "-m", "guildnet_devcluster.volume_provisioner"]
    flags = [f"--kubeconfig={layout.kubeconfig}", f"--folder={layout.volumes}"]
    return processes.start(layout, "volumes", [*module, *flags])


def _start_policies(layout: Layout, net: NodeNetwork) -> Process:
    module = [sys.executable, "-m", "guildnet_devcluster.network_policy_enforcer"]
    argv = [*node_network.inside(layout), *module, f"--kubeconfig={layout.kubeconfig}"]
    return processes.start(layout, "policies", argv)


def _import_pause(layout: Layout, programs: Programs) -> None:
    archive = layout.node / "pause.tar"
    docker_archive.write(node_files.pause_image(programs.pause / "pause"), archive)
    containerd_of(layout, programs).import_archive(archive)
