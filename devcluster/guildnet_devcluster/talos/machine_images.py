"""The images that a Talos cluster runs Kubernetes from, as docker-archives in the cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from guildnet_devcluster import docker_archive
from guildnet_devcluster.build_cache import build_once, cache_folder
from guildnet_devcluster.components import ETCD_VERSION, KUBERNETES_VERSION
from guildnet_devcluster.docker_archive import NewImage
from guildnet_devcluster.node_files import pause_image
from guildnet_devcluster.shared_libraries import libraries

from .programs import Programs

#: The one that containerd's CRI plugin asks for.
_PAUSE = "registry.k8s.io/pause:3.10.2"
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_IPTABLES = tuple(
    f"{family}{action}"
    for family in ("iptables", "ip6tables")
    for action in ("", "-restore", "-save")
)
_FOLDERS = ("dev", "etc", "proc", "sys", "tmp", "var", "var/run", "usr", "usr/bin")
_XTABLES = Path("/usr/sbin/xtables-nft-multi")


def ensure(programs: Programs) -> Path:
    """Return the folder with one archive for each image, written if it is not in the cache."""
    recipe = programs.key + Path(__file__).read_text()
    return build_once(cache_folder() / "talos" / "images", recipe, lambda to: _build(to, programs))


def _build(folder: Path, programs: Programs) -> None:
    for image in _images(programs):
        stem = image.name.rpartition("/")[2].replace(":", "-")
        docker_archive.write(image, folder / f"{stem}.tar")


def _images(programs: Programs) -> list[NewImage]:
    return [
        *(_kubernetes(name, programs.kubernetes / name) for name in _CONTROL_PLANE),
        _proxy(programs.kubernetes / "kube-proxy"),
        _kubelet(programs.kubernetes / "kubelet"),
        NewImage(
            name=f"registry.k8s.io/etcd:v{ETCD_VERSION}",
            files={"usr/local/bin/etcd": programs.etcd / "etcd"},
            folders=_FOLDERS,
        ),
        replace(pause_image(programs.pause / "pause"), name=_PAUSE),
    ]


def _kubernetes(name: str, program: Path) -> NewImage:
    return NewImage(
        name=f"registry.k8s.io/{name}:v{KUBERNETES_VERSION}",
        files={f"usr/local/bin/{name}": program},
        folders=_FOLDERS,
    )


def _proxy(program: Path) -> NewImage:
    image = _kubernetes("kube-proxy", program)
    links = {f"usr/sbin/{name}": _XTABLES.name for name in _IPTABLES}
    return replace(image, files={**image.files, **_packet_filter()}, links=links)


def _kubelet(program: Path) -> NewImage:
    tools = {f"usr/bin/{name}": Path(f"/usr/bin/{name}") for name in ("mount", "umount", "findmnt")}
    return NewImage(
        name=f"ghcr.io/siderolabs/kubelet:v{KUBERNETES_VERSION}",
        files={
            "usr/local/bin/kubelet": program,
            # The kubelet looks up whose user namespaces it may create.
            "etc/passwd": b"root:x:0:0:root:/:/bin/false\n",
            **tools,
            **_libraries(tools.values()),
        },
        folders=_FOLDERS,
        # Talos mounts the machine's /run at /var/run.
        links={"bin": "usr/bin", "sbin": "usr/bin", "run": "var/run"},
    )


def _packet_filter() -> dict[str, Path]:
    """iptables, its extensions and libraries."""
    folder = next(Path("/usr/lib").glob("*/xtables"), Path("/usr/lib/xtables"))
    extensions = list(folder.glob("lib*.so"))
    return {
        str(_XTABLES).removeprefix("/"): _XTABLES,
        **{str(file).removeprefix("/"): file for file in extensions},
        **_libraries([_XTABLES, *extensions]),
    }


def _libraries(programs: Iterable[Path]) -> dict[str, Path]:
    return {path.removeprefix("/"): file for path, file in libraries(programs).items()}
