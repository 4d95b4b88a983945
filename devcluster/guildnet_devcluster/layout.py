"""Names, folders and files of a devcluster, and its record."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.state_folder import private_folder, state_folder

#: A cluster's name is also its node's name, and part of the names of links and cgroups.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")

#: Sockets and runtime state, lost at the next boot. The path of a Unix socket is limited to 107
#: bytes, which a state directory may exceed.
RUNTIME = Path("/run/guildnet")


def clusters_folder() -> Path:
    """The folder that contains a folder for each devcluster."""
    return state_folder() / "devcluster"


def check_name(name: str) -> None:
    """Raises ConfigurationError unless `name` is a DNS-1123 label of at most 40 characters."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a valid cluster name",
            place="devcluster",
            cure="Use at most 40 lower-case letters, digits and hyphens.",
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of the cluster `name` with its data in `data`."""

    name: str
    data: Path

    @classmethod
    def of(cls, name: str) -> Layout:
        """The layout in the state directory. Raises ConfigurationError for an invalid name."""
        check_name(name)
        return cls(name, clusters_folder() / name)

    @property
    def lock(self) -> Path:
        return self.data.parent / f".{self.name}.lock"

    @property
    def record(self) -> Path:
        return self.data / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, self-contained."""
        return self.data / "kubeconfig"

    @property
    def processes(self) -> Path:
        return self.data / "processes"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def etcd(self) -> Path:
        return self.data / "etcd"

    @property
    def node(self) -> Path:
        """Data of the node that is kept across restarts, such as images."""
        return self.data / "node"

    @property
    def volumes(self) -> Path:
        return self.data / "volumes"

    @property
    def runtime(self) -> Path:
        """Data that is removed with the node's processes."""
        return RUNTIME / hashlib.sha256(str(self.data).encode()).hexdigest()[:12]

    @property
    def containerd_socket(self) -> Path:
        return self.runtime / "containerd.sock"

    @property
    def netns(self) -> Path:
        return Path("/run/netns") / f"gn-{self.name}"

    @property
    def cgroup(self) -> str:
        """The kubelet's cgroup root, relative to each controller's mount."""
        return f"gn-{self.name}"


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """The state of a cluster that later commands need."""

    api_port: int
    etcd_port: int
    etcd_peer_port: int
    has_node: bool
    #: The number of the node's networks, unique on the machine; 0 without a node.
    slot: int
    #: The names of its Talos machines; empty for a cluster that runs on this host directly.
    machines: tuple[str, ...] = ()

    @classmethod
    def of_machines(cls, slot: int, machines: Sequence[str]) -> ClusterRecord:
        """The record of Talos machines: they have addresses of their own, so no ports."""
        return cls(0, 0, 0, has_node=True, slot=slot, machines=tuple(machines))

    @classmethod
    def read(cls, layout: Layout) -> ClusterRecord | None:
        """Read the record; None if it is missing or unreadable."""
        try:
            found = cls(**json.loads(layout.record.read_text()))
            return replace(found, machines=tuple(found.machines))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, layout: Layout) -> None:
        private_folder(layout.data)
        scratch = layout.record.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(self), indent=1))
        scratch.replace(layout.record)
