"""The entry points of a devcluster: up, down, status and loading images into its node."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.errors import ConfigurationError

from . import control_plane, docker_archive, node, node_network, processes, teardown
from .build_cache import exclusive
from .images import ImageRef
from .kube_client import KubeClient
from .layout import ClusterRecord, Layout, clusters_folder
from .node_network import NodeNetwork
from .pki import Authority
from .progress import Progress
from .talos import services as talos_services
from .talos import site as talos_site

#: The components that `up` without a node compiles.
CONTROL_PLANE_COMPONENTS = ("etcd", "kubernetes")

_LOOPBACK = "127.0.0.1"
_CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_NODE = ("containerd", "kubelet", "kube-proxy", "policies", "volumes")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster."""

    name: str
    #: The administrator's kubeconfig, self-contained; its context has the cluster's name.
    kubeconfig: Path
    #: The address at which pods reach servers on this machine; 127.0.0.1 without a node.
    host_address: str
    #: The node's network namespace; exists only with a node.
    netns: Path
    #: Exists only with a node, and not for Talos machines.
    containerd_socket: Path
    data: Path
    has_node: bool


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The current state of a cluster."""

    name: str
    kubeconfig: Path
    #: Whether there is an API server: not for Talos machines that wait for a configuration.
    has_api: bool
    has_node: bool
    #: Whether the API server reports that it is ready.
    is_ready: bool
    #: Whether every node is ready for pods; False without one.
    is_node_ready: bool
    #: Each program of the cluster, and whether it is running.
    processes: dict[str, bool]

    @property
    def is_whole(self) -> bool:
        """Whether every part is running and ready."""
        return (
            self.is_ready >= self.has_api
            and self.is_node_ready >= self.has_node
            and all(self.processes.values())
        )


def up(name: str, *, node: bool, progress: Progress, images: Sequence[ImageRef] = ()) -> Cluster:
    """Start the cluster `name`, with a node if requested. Returns at once if it is running.

    The node gets `images`; a new node gets them in seconds if another node had them before. What a
    crash left behind is removed first; the API's data and the node's images are kept. Raises
    GuildNetError, or ConfigurationError for an invalid name, an unsupported machine or images
    without a node.
    """
    layout = Layout.of(name)
    if images and not node:
        raise _no_node(name)
    with exclusive(layout.lock):
        record = ClusterRecord.read(layout)
        if record and record.machines:
            raise ConfigurationError(
                f"the cluster exists with Talos machines: {', '.join(record.machines)}",
                place=f"devcluster {name}",
                cure=f"Run up with --talos, or `guildnet devcluster down {name}` first.",
            )
        if not (record and record.has_node >= node and _status(layout, record).is_whole):
            programs = _Programs.ensure(layout, node, progress)
            record = _bring_up(layout, record, programs, images, progress)
        if images:
            _import_missing(layout, images, progress)
        return _cluster(layout, record)


def require_node_machine() -> None:
    """Raises ConfigurationError, naming the alternatives, if this machine cannot run a node."""
    node.check_machine()


def down(name: str) -> None:
    """Stop the cluster `name` and delete all its data, if it exists.

    Raises ConfigurationError if this requires root.
    """
    layout = Layout.of(name)
    with exclusive(layout.lock):
        teardown.tear_down(layout)
        # Images are tens of thousands of files; `rm` is ten times as fast as shutil.rmtree.
        subprocess.run(["rm", "-rf", "--", str(layout.data)], capture_output=True, check=False)
        layout.lock.unlink(missing_ok=True)


def status() -> list[ClusterStatus]:
    """Every cluster of this state directory, sorted by name."""
    found = []
    for folder in sorted(clusters_folder().glob("*/cluster.json")):
        layout = Layout(folder.parent.name, folder.parent)
        record = ClusterRecord.read(layout)
        if record is not None:
            found.append(_status(layout, record))
    return found


def get(name: str) -> Cluster:
    """Return the cluster `name`. Raises ConfigurationError if it does not exist."""
    layout = Layout.of(name)
    record = ClusterRecord.read(layout)
    if record is None:
        raise ConfigurationError(
            "the cluster does not exist",
            place=f"devcluster {name}",
            cure=f"Run `guildnet devcluster up {name}`.",
        )
    return _cluster(layout, record)


def load_image(name: str, archive: Path, progress: Progress) -> None:
    """Load the images of a docker-archive into the node of cluster `name`, under their own names.

    Talos machines pull them when a pod needs them. Raises ConfigurationError without a node,
    GuildNetError if containerd rejects the archive.
    """
    if not get(name).has_node:
        raise _no_node(name)
    layout = Layout.of(name)
    record = ClusterRecord.read(layout)
    if record and record.machines:
        docker_archive.read(archive)
        talos_services.add_archive(layout, archive)
        return
    if not archive.is_file():
        raise ConfigurationError(
            "the file does not exist", place=str(archive), cure="Give the path of a docker-archive."
        )
    programs = node.Programs.ensure(progress)
    with progress.step(f"loading {archive.name} into {name}", timedelta(seconds=8)):
        node.containerd_of(Layout.of(name), programs).import_archive(archive.resolve())


@dataclass(frozen=True, slots=True)
class _Programs:
    control_plane: control_plane.Programs
    node: node.Programs | None

    @classmethod
    def ensure(cls, layout: Layout, with_node: bool, progress: Progress) -> _Programs:
        if with_node:
            node.check_machine()
            node.check_socket_paths(layout)
        own = control_plane.Programs.ensure(progress)
        return cls(own, node.Programs.ensure(progress) if with_node else None)


def _bring_up(
    layout: Layout,
    before: ClusterRecord | None,
    programs: _Programs,
    images: Sequence[ImageRef],
    progress: Progress,
) -> ClusterRecord:
    if programs.node:
        node.seed_images(layout, programs.node, images, progress)
    took = timedelta(seconds=14 if programs.node else 6)
    with progress.step(f"starting cluster {layout.name}", took):
        teardown.tear_down(layout)
        try:
            return _start(layout, before, programs)
        except BaseException:
            # Stop a partly started cluster; its logs, which show the cause, are kept.
            teardown.tear_down(layout)
            raise


def _import_missing(layout: Layout, images: Sequence[ImageRef], progress: Progress) -> None:
    """Import images that the node's seed did not contain, or that could not be seeded."""
    containerd = node.containerd_of(layout, node.Programs.ensure(progress))
    found = containerd.images()
    for image in images:
        if image.name not in found:
            with progress.step(f"loading {image.name} into {layout.name}", timedelta(seconds=20)):
                containerd.import_archive(image.archive)


def _no_node(name: str) -> ConfigurationError:
    return ConfigurationError(
        "the cluster has no node", place=f"devcluster {name}", cure="Run up without --no-node."
    )


def _start(layout: Layout, before: ClusterRecord | None, programs: _Programs) -> ClusterRecord:
    if programs.node is None:
        record = _record(layout, before, None)
        _start_control_plane(layout, record, _LOOPBACK, programs)
        return record
    net = node_network.claim_slot(layout, before.slot if before else 0)
    record = _record(layout, before, net)
    node_network.build(layout, net)
    containerd = node.start_containerd(layout, net, programs.node)
    authority = _start_control_plane(layout, record, net.host_address, programs)
    node.start(
        layout,
        net,
        programs.node,
        authority=authority,
        server=f"https://{net.host_address}:{record.api_port}",
        containerd=containerd,
    )
    return record


def _start_control_plane(
    layout: Layout, record: ClusterRecord, address: str, programs: _Programs
) -> Authority:
    authority = Authority.in_folder(layout.pki)
    control_plane.start(layout, record, address, programs.control_plane, authority)
    return authority


def _record(layout: Layout, before: ClusterRecord | None, net: NodeNetwork | None) -> ClusterRecord:
    """Write the cluster's record; it keeps its ports unless another program took one."""
    ports = [before.api_port, before.etcd_port, before.etcd_peer_port] if before else []
    if not ports or not all(map(control_plane.is_free, ports)):
        ports = control_plane.free_ports(3)
    api, etcd, peer = ports
    record = ClusterRecord(
        api_port=api,
        etcd_port=etcd,
        etcd_peer_port=peer,
        has_node=net is not None,
        slot=net.slot if net else 0,
    )
    record.write(layout)
    return record


def _cluster(layout: Layout, record: ClusterRecord) -> Cluster:
    return Cluster(
        name=layout.name,
        kubeconfig=layout.kubeconfig,
        host_address=NodeNetwork(record.slot).host_address if record.has_node else _LOOPBACK,
        netns=layout.netns,
        containerd_socket=layout.containerd_socket,
        data=layout.data,
        has_node=record.has_node,
    )


def _status(layout: Layout, record: ClusterRecord) -> ClusterStatus:
    alive = {process.name for process in processes.recorded(layout) if process.is_alive}
    if record.machines:
        expected = talos_site.expected_processes(layout, record)
        is_possible = has_api = layout.kubeconfig.exists()
        nodes: Sequence[str] = record.machines if has_api else ()
    else:
        expected = [*_CONTROL_PLANE, *(_NODE if record.has_node else ())]
        has_api = True
        # Without these two the API does not answer.
        is_possible = {"etcd", "kube-apiserver"} <= alive and layout.kubeconfig.exists()
        nodes = [layout.name] if record.has_node else []
    api = KubeClient(layout.kubeconfig) if is_possible else None
    is_ready = api is not None and api.is_ready()
    return ClusterStatus(
        name=layout.name,
        kubeconfig=layout.kubeconfig,
        has_api=has_api,
        has_node=bool(nodes),
        is_ready=is_ready,
        is_node_ready=api is not None and is_ready and node.are_ready(api, len(nodes)),
        processes={name: name in alive for name in expected},
    )
