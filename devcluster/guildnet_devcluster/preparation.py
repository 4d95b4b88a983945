"""Builds the programs and images in advance, since the first build takes minutes.

Image builds mostly wait for the network and compilers for the CPU, so both run in parallel.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from math import ceil

from .cluster import CONTROL_PLANE_COMPONENTS, require_node_machine
from .components import BASE_COMPONENTS, COMPONENTS, ensure, is_built
from .images import Images, ensure_images
from .packages import IMAGE_PACKAGES, NODE_PACKAGES, ensure_packages
from .progress import Progress, format_duration
from .talos.programs import TALOS_COMPONENTS, Programs

#: The components of the mesh: the control server and its clients.
MESH_COMPONENTS = ("headscale", "tailscale")


def prepare_control_plane(progress: Progress) -> None:
    """Compile the programs of `up --no-node`. Raises GuildNetError if a build fails."""
    _announce_builds(CONTROL_PLANE_COMPONENTS, progress)
    for name in CONTROL_PLANE_COMPONENTS:
        ensure(name, progress)


def prepare_forge(progress: Progress) -> None:
    """Compile Gitea. Raises GuildNetError if the build fails."""
    ensure("gitea", progress)


def prepare_mesh(progress: Progress) -> None:
    """Compile Headscale and Tailscale. Raises GuildNetError if a build fails."""
    _announce_builds(MESH_COMPONENTS, progress)
    for name in MESH_COMPONENTS:
        ensure(name, progress)


def prepare_talos(progress: Progress) -> None:
    """Compile Talos, and the Kubernetes of its clusters. Raises GuildNetError if a build fails."""
    require_node_machine()
    _announce_builds(TALOS_COMPONENTS, progress)
    Programs.ensure(progress)


def prepare_everything(progress: Progress, agents: Iterable[str] = ()) -> Images:
    """Compile every program of a cluster and its forge, and build both images; return the images.

    The work image contains the coding agents `agents`.
    Raises ConfigurationError on a machine that cannot run a node, and GuildNetError if a build
    fails.
    """
    require_node_machine()
    _announce_builds(BASE_COMPONENTS, progress)
    ensure_packages([*NODE_PACKAGES, *IMAGE_PACKAGES], progress)
    with ThreadPoolExecutor() as pool:
        images = pool.submit(ensure_images, progress, agents)
        for name in BASE_COMPONENTS:
            ensure(name, progress)
        return images.result()


def _announce_builds(names: Iterable[str], progress: Progress) -> None:
    missing = [COMPONENTS[name] for name in names if not is_built(name)]
    if missing:
        whole = timedelta(minutes=ceil(sum(component.minutes for component in missing)))
        progress.line(
            f"compiling {', '.join(component.name for component in missing)} once, in about"
            f" {format_duration(whole)} on two cores; the results are kept in the cache"
        )
