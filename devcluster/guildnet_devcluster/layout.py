"""Where a devcluster keeps what: names, folders and files, and the record of one cluster."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.state_folder import private_folder

#: A cluster's name is also its node's name and part of link and cgroup names.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")

#: Short-lived files: sockets and runtime state, gone with the machine's next boot. Unix socket
#: paths are limited to 107 bytes, which a state directory may exceed.
RUNTIME = Path("/run/guildnet")


def state_folder() -> Path:
    """GuildNet's state directory: `GUILDNET_STATE_DIR`, else ~/.guildnet/state."""
    return Path(os.environ.get("GUILDNET_STATE_DIR") or "~/.guildnet/state").expanduser().resolve()


def clusters_folder() -> Path:
    """The folder with one folder for each devcluster."""
    return state_folder() / "devcluster"


def check_name(name: str) -> None:
    """Raises ConfigurationError unless `name` is a DNS-1123 label of at most 40 characters."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no cluster name",
            place="devcluster",
            cure="use at most 40 lower-case letters, digits and dashes",
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of the cluster `name` whose data is in `data`."""

    name: str
    data: Path

    @classmethod
    def of(cls, name: str) -> Layout:
        """The layout under the state directory. Raises ConfigurationError for a bad name."""
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
        """What the node keeps across a restart, images first of all."""
        return self.data / "node"

    @property
    def volumes(self) -> Path:
        return self.data / "volumes"

    @property
    def runtime(self) -> Path:
        """What ends with the node's processes."""
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
    """What must be known of a cluster after its programs, or we, have ended."""

    api_port: int
    etcd_port: int
    etcd_peer_port: int
    has_node: bool
    #: Numbers the node's networks, unique on the machine; 0 without a node.
    slot: int

    @classmethod
    def read(cls, layout: Layout) -> ClusterRecord | None:
        """The record on disk, or None when there is none that can be read."""
        try:
            return cls(**json.loads(layout.record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, layout: Layout) -> None:
        private_folder(layout.data)
        scratch = layout.record.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(self), indent=1))
        scratch.replace(layout.record)
