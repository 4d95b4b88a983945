"""Builds GuildNet's images as archives in the cache, only when their inputs change.

buildah builds them from agent/Dockerfile, without a daemon or a registry. Layers are kept in a
separate store in the cache, so a change of Python code rebuilds only the last layer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from guildnet.errors import GuildNetError

from .base_image import SUITE, base_key, ensure_base
from .build_cache import cache_folder, exclusive
from .components import COMPONENTS, ensure
from .image_inputs import copied_paths, copied_stages, inputs_digest
from .packages import IMAGE_PACKAGES, ensure_packages
from .progress import Progress
from .registry_settings import settings_mounts

Target = Literal["operator", "work", "mesh"]

DOCKERFILE = Path("agent/Dockerfile")
#: Duration of building all layers below the code on 2 cores.
_COLD = {"operator": timedelta(minutes=1), "work": timedelta(minutes=4)}
_MESH_PROGRAMS = COMPONENTS["tailscale"].binaries
#: The layers above them: the code, and each coding agent.
_WARM = timedelta(seconds=10)
_AN_AGENT = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that can be imported into a node."""

    #: The name in manifests, `localhost/guildnet-<target>[-<agent>...]:<12 hex digits>`; the digits
    #: depend on the inputs.
    name: str
    #: A docker-archive that contains it under this name.
    archive: Path


@dataclass(frozen=True, slots=True)
class Images:
    """The images of every GuildNet pod."""

    operator: ImageRef
    work: ImageRef


def ensure_images(progress: Progress, agents: Iterable[str] = ()) -> Images:
    """Return both images of this checkout, building those that are not cached.

    The work image contains the coding agents `agents`, named as in agent/coding-agents.
    Raises GuildNetError outside a checkout, without root on Linux, or if a build fails.
    """
    source = _source_root()
    return Images(
        operator=_ensure_image(source, "operator", (), progress),
        work=_ensure_image(source, "work", tuple(sorted(set(agents))), progress),
    )


def ensure_mesh_image(progress: Progress) -> ImageRef:
    """Return the image of the mesh container, built if it is not cached.

    Only orgs with a mesh need it. Its programs are those of the component `tailscale`. Raises like
    `ensure_images`.
    """
    return _ensure_image(_source_root(), "mesh", (), progress)


def image_name(source: Path, target: str, agents: Sequence[str] = ()) -> str:
    """The name of the Dockerfile's `target` built from the current content of `source`."""
    dockerfile = (source / DOCKERFILE).read_text()
    paths = (DOCKERFILE.as_posix(), *copied_paths(dockerfile, target))
    digest = inputs_digest(source, paths, base_key())
    return f"{_repository(target, agents)}:{digest}"


def _repository(target: str, agents: Sequence[str]) -> str:
    return "-".join((f"localhost/guildnet-{target}", *agents))


def _ensure_image(
    source: Path, target: Target, agents: Sequence[str], progress: Progress
) -> ImageRef:
    folder = cache_folder() / "images"
    name = image_name(source, target, agents)
    image = ImageRef(name, _archive(folder, name))
    if not image.archive.exists():
        _require_builder(progress)
        # One build at a time: builds share the store and most of its layers.
        with exclusive(folder / "build.lock"):
            if not image.archive.exists():
                _build_and_export(source, target, agents, image, progress)
    return image


def _build_and_export(
    source: Path, target: Target, agents: Sequence[str], image: ImageRef, progress: Progress
) -> None:
    store = _Store(image.archive.parent)
    arguments = {"BASE": _ensure_debian(store, progress)}
    if target == "mesh":
        below = arguments["MESH_PROGRAMS"] = _ensure_mesh_programs(store, progress)
    else:
        below = arguments[f"{target.upper()}_BASE"] = _ensure_below(
            store, source, target, arguments, progress
        )
    if target == "work":
        arguments["AGENTS"] = " ".join(agents)
    with progress.step(f"building image {image.name}", _WARM + len(agents) * _AN_AGENT):
        store.build(source, target, name=image.name, arguments=arguments)
        store.export(image)
        _name_stages(store, source, target, arguments)
    _prune(store, target, (image.name, below))


def _ensure_below(
    store: _Store, source: Path, target: Target, arguments: Mapping[str, str], progress: Progress
) -> str:
    """The image of all layers of `target` below the code, built if missing."""
    base = f"{target}-base"
    name = image_name(source, base)
    if not store.has(name):
        with progress.step(f"building the base layers of image {target}", _COLD[target]):
            store.build(source, base, name=name, arguments=arguments)
            _name_stages(store, source, base, arguments)
    return name


def _ensure_mesh_programs(store: _Store, progress: Progress) -> str:
    """An image with the programs of the mesh container, so that its build compiles nothing."""
    programs = ensure("tailscale", progress)
    name = f"localhost/guildnet-mesh-base:{programs.name.rpartition('-')[2]}"
    if not store.has(name):
        with tempfile.TemporaryDirectory(dir=store.folder) as context:
            for program in _MESH_PROGRAMS:
                os.link(programs / program, Path(context) / program)
            (Path(context) / "Dockerfile").write_text(
                f"FROM scratch\nCOPY {' '.join(_MESH_PROGRAMS)} /usr/local/bin/\n"
            )
            store.run("bud", "--quiet", "--tag", name, context)
    return name


def _ensure_debian(store: _Store, progress: Progress) -> str:
    name = f"localhost/debian:{SUITE}-{base_key()}"
    if not store.has(name):
        archive = ensure_base(store.folder, progress)
        with tempfile.TemporaryDirectory(dir=store.folder) as context:
            os.link(archive, Path(context) / "base.tar")
            (Path(context) / "Dockerfile").write_text(
                'FROM scratch\nADD base.tar /\nCMD ["bash"]\n'
            )
            store.run("bud", "--quiet", "--tag", name, context)
    return name


def _name_stages(store: _Store, source: Path, target: str, arguments: Mapping[str, str]) -> None:
    """Name the stages that `target`, just built, copies from, so that they are not pruned.

    The next build reuses them; building code-server alone takes four minutes.
    """
    agents = arguments.get("AGENTS", "").split()
    for stage in copied_stages((source / DOCKERFILE).read_text(), target):
        name = "-".join((f"localhost/guildnet-stage:{stage}", *agents))
        store.build(source, stage, name=name, arguments=arguments)


def _prune(store: _Store, target: Target, kept: Sequence[str]) -> None:
    """Remove older builds of `target`; layers that they share with `kept` remain."""
    repository = kept[0].rpartition(":")[0]
    digest = "[0-9a-f]" * 12
    archives = store.folder.glob(f"{_archive_stem(repository)}-{digest}.tar")
    newest_first = sorted(archives, key=lambda archive: archive.stat().st_mtime, reverse=True)
    # Another process may be importing the second newest into a node.
    for archive in newest_first[2:]:
        archive.unlink(missing_ok=True)
    for each in (repository, f"localhost/guildnet-{target}-base"):
        for name in store.names(each):
            if name not in kept:
                store.remove(name)
    store.prune()


class _Store:
    """buildah with a store in `folder`, separate from the user's own images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        return self._buildah(["inspect", "--type", "image", name]).returncode == 0

    def names(self, repository: str) -> list[str]:
        """The full names of all images of `repository`."""
        found = self._buildah(["images", "--format", "{{.Name}}:{{.Tag}}"]).stdout.split()
        return [name for name in found if name.rpartition(":")[0] == repository]

    def remove(self, name: str) -> None:
        self._buildah(["rmi", name])

    def prune(self) -> None:
        """Remove unnamed images, and the containers of builds that were killed."""
        self._buildah(["rm", "--all"])
        self._buildah(["rmi", "--prune"])

    def build(self, source: Path, target: str, *, name: str, arguments: Mapping[str, str]) -> None:
        with settings_mounts(self.folder) as mounts:
            self.run(
                *("bud", "--layers", "--pull-never", "--isolation", "chroot", "--network", "host"),
                *(f"--volume={mount}" for mount in mounts),
                *(f"--build-arg={key}={value}" for key, value in arguments.items()),
                *("--target", target, "--tag", name),
                *("--file", str(source / DOCKERFILE), str(source)),
            )

    def export(self, image: ImageRef) -> None:
        """Write the archive; it is renamed to its final name only when complete."""
        partial = image.archive.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        self.run("push", "--quiet", image.name, f"docker-archive:{partial}:{image.name}")
        partial.rename(image.archive)

    def run(self, *arguments: str) -> None:
        done = self._buildah(arguments)
        if done.returncode == 0:
            return
        log = self.folder / "build.log"
        log.write_text(done.stdout + done.stderr)
        raise GuildNetError(
            f"buildah {arguments[0]} failed: {done.stderr.strip()[-800:]}",
            place=f"{DOCKERFILE} (full output in {log})",
            cure="Check that the package registries are reachable, then run the command again.",
        )

    def _buildah(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        roots = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        command = ["buildah", "--storage-driver=overlay", *roots, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)


def _archive(folder: Path, name: str) -> Path:
    repository, _, digest = name.rpartition(":")
    return folder / f"{_archive_stem(repository)}-{digest}.tar"


def _archive_stem(repository: str) -> str:
    return repository.removeprefix("localhost/guildnet-")


def _require_builder(progress: Progress) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise GuildNetError(
            "building images requires Linux and root",
            place=DOCKERFILE.as_posix(),
            cure="Run as root, or build both targets with docker and pass them by --image.",
        )
    ensure_packages(IMAGE_PACKAGES, progress)


def _source_root() -> Path:
    """The checkout that contains this package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / DOCKERFILE).is_file():
        raise GuildNetError(
            "images can only be built from a checkout of GuildNet, not from an installed package",
            place=str(root / DOCKERFILE),
            cure="Clone the repository and run its .venv/bin/guildnet.",
        )
    return root
