"""The root file system of a Talos machine, from compiled programs and files of Talos' module.

The list of files follows the stage `rootfs-base` of Talos' Dockerfile. The folder is kept in the
cache and is the read-only lower layer of each machine's root.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from guildnet_devcluster.build_cache import build_once, cache_folder
from guildnet_devcluster.components import COMPONENTS, module_folder
from guildnet_devcluster.node_files import CNI_PROGRAMS
from guildnet_devcluster.progress import Progress
from guildnet_devcluster.shared_libraries import libraries

from .programs import Programs

#: What Talos' init finds to be a container, whatever its environment.
_CONTAINER_MARK = "usr/etc/in-container"
_FOLDERS = (
    *("dev", "mnt", "opt/cni/bin", "proc", "root", "run", "sys", "system", "tmp", "var"),
    *("etc/cni/net.d", "etc/cri/conf.d/hosts", "etc/iscsi", "etc/kubernetes/manifests", "etc/nvme"),
    *("etc/selinux/targeted/contexts/files", "etc/ssl/certs", "opt/containerd/bin"),
    *("opt/containerd/lib", "usr/bin", "usr/etc", "usr/lib", "usr/lib64", "usr/lib/modules"),
    *("usr/lib/firmware", "usr/libexec/kubernetes", "usr/local/etc/containers"),
    *("usr/local/lib/kubelet/credentialproviders", "usr/local/share", "usr/share/spdx"),
    "usr/share/zoneinfo/Etc",
)
_LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/bin",
    "usr/sbin": "bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
    "etc/ssl/certs/ca-certificates": "ca-certificates.crt",
    "etc/pki": "/etc/ssl",
    "etc/ca-certificates": "/etc/ssl",
    "usr/share/ca-certificates": "/etc/ssl",
    "usr/local/share/ca-certificates": "/etc/ssl",
}
#: Talos mounts its own files over these.
_EMPTY = (
    *("etc/extensions.yaml", "etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/machine-id"),
    *("etc/cri/conf.d/cri.toml", "etc/cri/conf.d/01-registries.part"),
    *("etc/cri/conf.d/20-customization.part", "etc/cri/conf.d/base-spec.json"),
    *("etc/iscsi/initiatorname.iscsi", "etc/nvme/hostid", "etc/nvme/hostnqn"),
    "etc/selinux/targeted/contexts/files/file_contexts",
    _CONTAINER_MARK,
)
#: Path in the root -> path in Talos' module.
_SOURCES = {
    "etc/containerd/config.toml": "hack/containerd.toml",
    "etc/cri/containerd.toml": "hack/cri-containerd.toml",
    "etc/cri/conf.d/00-base.part": "hack/cri-plugin.part",
    "etc/nfsmount.conf": "hack/nfsmount.conf",
    "usr/share/zoneinfo/Etc/UTC": "hack/zoneinfo/Etc/UTC",
}
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_CNI_PLUGINS = ("host-local", "loopback", "ptp")


def ensure(programs: Programs, progress: Progress) -> Path:
    """Return the folder of the root file system, built if it is not in the cache."""

    def build(root: Path) -> None:
        _build(root, programs, _Sources.of_talos(progress))

    recipe = programs.key + Path(__file__).read_text()
    return build_once(cache_folder() / "talos" / "rootfs", recipe, build)


@dataclass(frozen=True, slots=True)
class _Sources:
    """The folders of Talos' Go modules."""

    talos: Path
    machinery: Path

    @classmethod
    def of_talos(cls, progress: Progress) -> _Sources:
        component, module = COMPONENTS["talos"], "github.com/siderolabs/talos"
        names = (module, f"{module}/pkg/machinery")
        return cls(*(module_folder(component, name, progress) for name in names))


def _build(root: Path, programs: Programs, sources: _Sources) -> None:
    for path in _FOLDERS:
        (root / path).mkdir(parents=True, exist_ok=True)
    for path, target in _LINKS.items():
        (root / path).symlink_to(target)
    for path in _EMPTY:
        (root / path).touch()
    for path, source in _files(programs, sources):
        _place(source, root / path)


def _files(programs: Programs, sources: _Sources) -> Iterator[tuple[str, Path]]:
    """Each file: its path in the root and its source."""
    # Talos' init is also its API server, its trust daemon and its console, by its name.
    for name in ("init", "poweroff", "shutdown", "dashboard"):
        yield f"usr/bin/{name}", programs.talos / "machined"
    for name in ("containerd", "containerd-shim-runc-v2"):
        yield f"usr/bin/{name}", programs.containerd / name
    yield "usr/bin/runc", programs.runc_wrapper / "runc-wrapper"
    yield "usr/bin/runc.real", programs.runc / "runc"
    plugins = [Path(CNI_PROGRAMS) / name for name in _CNI_PLUGINS]
    for plugin in plugins:
        yield f"opt/cni/bin/{plugin.name}", plugin
    for path, library in libraries([programs.runc / "runc", *plugins]).items():
        # Like the programs, libraries lie under /usr.
        yield f"usr/{path.removeprefix('/').removeprefix('usr/')}", library
    for path, source in _SOURCES.items():
        yield path, sources.talos / source
    yield "etc/os-release", sources.machinery / "version/os-release"
    yield "etc/ssl/certs/ca-certificates.crt", _CERTIFICATES


def _place(source: Path, destination: Path) -> None:
    """Link or copy `source`; machines never write to the lower layer of their root."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy(source, destination)
