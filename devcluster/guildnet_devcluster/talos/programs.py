"""The programs of a Talos machine and of its Kubernetes, compiled or installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guildnet_devcluster import components
from guildnet_devcluster.packages import NODE_PACKAGES, ensure_packages
from guildnet_devcluster.progress import Progress

#: In the order in which they are built: those that other clusters need as well come first.
TALOS_COMPONENTS = (
    "etcd",
    "kubernetes",
    "containerd",
    "runc",
    "pause",
    "runc-wrapper",
    "talos",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The folders of the compiled programs."""

    etcd: Path
    kubernetes: Path
    containerd: Path
    runc: Path
    pause: Path
    runc_wrapper: Path
    talos: Path

    @classmethod
    def ensure(cls, progress: Progress) -> Programs:
        """Build missing programs, and install the packages that a machine requires."""
        ensure_packages((*NODE_PACKAGES, "ca-certificates"), progress)
        built = {
            name.replace("-", "_"): components.ensure(name, progress) for name in TALOS_COMPONENTS
        }
        return cls(**built)

    @property
    def talosctl(self) -> Path:
        return self.talos / "talosctl"

    @property
    def key(self) -> str:
        """A text that changes with the compiled programs."""
        folders = (self.etcd, self.kubernetes, self.containerd, self.runc, self.pause)
        return " ".join(each.name for each in (*folders, self.runc_wrapper, self.talos))
