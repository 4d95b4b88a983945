"""Configuration files of the node's programs, from the cluster's layout and network. Pure."""

from __future__ import annotations

import json
from pathlib import Path

from .docker_archive import NewImage
from .layout import Layout
from .node_network import NodeNetwork
from .pki import KeyPair

PAUSE_IMAGE = "localhost/pause:1"
#: The folder of Debian's package containernetworking-plugins.
CNI_PROGRAMS = "/usr/lib/cni"


def containerd_root(layout: Layout) -> Path:
    """The folder with the images and containers of the node's containerd."""
    return layout.node / "containerd"


def containerd_config(layout: Layout, runc: Path) -> str:
    """containerd's configuration, TOML, version 3."""
    runtime = "plugins.'io.containerd.cri.v1.runtime'"
    return f"""\
version = 3
root = '{containerd_root(layout)}'
state = '{layout.runtime / "containerd"}'
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.tracing.processor.v1.otlp']

[grpc]
address = '{layout.containerd_socket}'

[{runtime}]
# Without CAP_SYS_RESOURCE an OOM score cannot be lowered, and every sandbox would fail.
restrict_oom_score_adj = true
# In the state folder, so that clusters do not share a folder of namespaces.
netns_mounts_under_state_dir = true

[{runtime}.containerd]
default_runtime_name = 'runc'

[{runtime}.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[{runtime}.containerd.runtimes.runc.options]
BinaryName = '{runc}'
Root = '{layout.runtime / "runc"}'
SystemdCgroup = false

[{runtime}.cni]
bin_dirs = ['{CNI_PROGRAMS}']
conf_dir = '{layout.node / "cni"}'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'
"""


def kubelet_config(layout: Layout, authority: Path, serving: KeyPair) -> str:
    """The KubeletConfiguration, JSON."""
    whole = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        # One for each node: a kubelet kills unknown pods under its root as orphans.
        "cgroupRoot": f"/{layout.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Lowering its score requires CAP_SYS_RESOURCE, which containers may lack.
        "oomScoreAdj": 0,
        # One pod must not exhaust the machine's process ids.
        "podPidsLimit": 4096,
        "podLogsDir": str(layout.node / "pod-logs"),
        "volumePluginDir": str(layout.node / "volume-plugins"),
        "resolvConf": str(_resolver()),
        # Developers' disks are often nearly full, and deleted images cannot be pulled again.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "10s",
        "readOnlyPort": 0,
    }
    return json.dumps(whole, indent=1)


def cni_config(layout: Layout, network: NodeNetwork) -> str:
    """The CNI configuration: point-to-point links, so all pod traffic is routed by the node."""
    addresses = {
        "type": "host-local",
        "dataDir": str(layout.runtime / "cni-leases"),
        "ranges": [[{"subnet": network.pod_subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": layout.cgroup, "plugins": plugins}, indent=1)


def pause_image(program: Path) -> NewImage:
    """The image that holds a pod's namespaces open; it contains only `program`."""
    return NewImage(
        name=PAUSE_IMAGE, files={"pause": program}, entrypoint=["/pause"], user="65535:65535"
    )


def _resolver() -> Path:
    # systemd-resolved listens on loopback, which pods cannot reach.
    upstream = Path("/run/systemd/resolve/resolv.conf")
    return upstream if upstream.exists() else Path("/etc/resolv.conf")
