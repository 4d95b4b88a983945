"""The cluster's node: containerd, kubelet and kube-proxy, in the node's network namespace."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.errors import ConfigurationError, GuildNetError

from . import (
    cgroups,
    components,
    image_seed,
    node_files,
    node_network,
    processes,
    volume_provisioner,
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

_ALTERNATIVES = "take the control plane alone with --no-node, or your own cluster by its kubeconfig"
#: For a machine that is busy compiling, or brings several clusters up at once.
_PATIENCE = timedelta(seconds=180)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Programs:
    """The folders of the compiled programs."""

    kubernetes: Path
    containerd: Path
    runc: Path
    pause: Path

    @classmethod
    def ensure(cls, progress: Progress) -> Programs:
        """Build what is missing, and install the packages a node runs with."""
        ensure_packages(NODE_PACKAGES, progress)
        names = ("kubernetes", "containerd", "runc", "pause")
        return cls(*(components.ensure(name, progress) for name in names))


#: Of a Unix socket's address, in bytes (unix(7)).
MAX_SOCKET_PATH = 107


def check_machine() -> None:
    """Raises ConfigurationError, with the two ways out, where no node can run."""
    if not sys.platform.startswith("linux"):
        why = f"a node needs Linux, and this is {platform.system()}"
    elif os.geteuid() != 0:
        why = "a node needs root"
    else:
        return
    raise ConfigurationError(why, place="devcluster", cure=_ALTERNATIVES)


def check_socket_paths(layout: Layout) -> None:
    """Raises ConfigurationError where the kubelet's sockets would have names too long for it."""
    longest = _kubelet_root(layout) / "pod-resources" / "kubelet.sock"
    excess = len(os.fsencode(longest)) - MAX_SOCKET_PATH
    if excess > 0:
        raise ConfigurationError(
            f"the path is {excess} bytes too long for the kubelet's sockets",
            place=str(layout.data),
            cure="name a shorter folder by GUILDNET_STATE_DIR, or the cluster more shortly",
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
    """Start the other programs; returns when the node is ready for pods.

    Raises GuildNetError when it does not get ready.
    """
    processes.wait_for(
        "answer from containerd",
        containerd_of(layout, programs).is_answering,
        layout,
        [containerd],
        _PATIENCE,
    )
    _import_pause(layout, programs)
    kubelet = _start_kubelet(layout, net, programs, authority, server)
    proxy = _start_proxy(layout, net, programs, authority, server)
    api = KubeClient(layout.kubeconfig)
    api.ensure("/apis/storage.k8s.io/v1/storageclasses", volume_provisioner.storage_class())
    provisioner = _start_provisioner(layout)
    policies = _start_policies(layout, net)
    processes.wait_for(
        "ready node",
        lambda: is_ready(api, layout.name),
        layout,
        [containerd, proxy, provisioner, policies, kubelet],
        _PATIENCE,
    )


def is_ready(api: KubeClient, name: str) -> bool:
    """Whether the API server takes node `name` for ready."""
    try:
        status, node = api.request("GET", f"/api/v1/nodes/{name}")
    except GuildNetError:
        return False
    if status != 200:
        return False
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def containerd_of(layout: Layout, programs: Programs) -> Containerd:
    """How to ask the node's containerd."""
    return Containerd(programs.containerd, layout.containerd_socket)


def seed_images(
    layout: Layout, programs: Programs, images: Sequence[ImageRef], progress: Progress
) -> None:
    """Give a node that has none yet its images, before its containerd starts; quick."""
    root = node_files.containerd_root(layout)
    if images and not root.exists():
        image_seed.copy_to(root, programs.containerd, images, progress)


def start_containerd(layout: Layout, net: NodeNetwork, programs: Programs) -> Process:
    """Start containerd, the network being there. It needs no API server, and so may come first."""
    cgroups.create(layout.cgroup)
    layout.runtime.mkdir(parents=True, exist_ok=True, mode=0o711)
    cni = layout.node / "cni"
    cni.mkdir(parents=True, exist_ok=True)
    (cni / "10-guildnet.conflist").write_text(node_files.cni_config(layout, net))
    config = layout.node / "containerd.toml"
    config.write_text(node_files.containerd_config(layout, programs.runc / "runc"))
    # containerd finds its shim, and the CNI plugins find iptables, on PATH.
    path = f"{programs.containerd}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    argv = [*node_network.inside(layout), str(programs.containerd / "containerd"), "--config"]
    return processes.start(layout, "containerd", [*argv, str(config)], {"PATH": path})


def _start_kubelet(
    layout: Layout, net: NodeNetwork, programs: Programs, authority: Authority, server: str
) -> Process:
    user = (f"system:node:{layout.name}", ["system:nodes"])
    kubeconfig = component_kubeconfig(layout, authority, server, "kubelet", user)
    # The API server dials the node by its address, and checks the certificate against it.
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
        # The machine's own limit is not ours to change, and often not changeable.
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
    machine = platform.machine()
    content = node_files.pause_archive(
        programs.pause / "pause", _ARCHITECTURES.get(machine, machine)
    )
    archive = layout.node / "pause.tar"
    archive.write_bytes(content)
    containerd_of(layout, programs).import_archive(archive)
