"""What takes long the first time, done before anything waits for it: programs and images.

Images wait mostly for the network and compilers for the processor, so the two go side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from math import ceil

from .cluster import CONTROL_PLANE_COMPONENTS, require_node_machine
from .components import COMPONENTS, ensure, is_built
from .images import Images, ensure_images
from .packages import IMAGE_PACKAGES, NODE_PACKAGES, ensure_packages
from .progress import Progress, format_duration


def prepare_control_plane(progress: Progress) -> None:
    """Compile what `up --no-node` runs. Raises GuildNetError where it cannot be built."""
    _announce_builds(CONTROL_PLANE_COMPONENTS, progress)
    for name in CONTROL_PLANE_COMPONENTS:
        ensure(name, progress)


def prepare_forge(progress: Progress) -> None:
    """Compile Gitea. Raises GuildNetError where it cannot be built."""
    ensure("gitea", progress)


def prepare_everything(progress: Progress) -> Images:
    """Compile every program and build both images; returns the images.

    Raises ConfigurationError on a machine that cannot carry a node, GuildNetError where
    something cannot be built.
    """
    require_node_machine()
    _announce_builds(COMPONENTS, progress)
    ensure_packages([*NODE_PACKAGES, *IMAGE_PACKAGES], progress)
    with ThreadPoolExecutor() as pool:
        images = pool.submit(ensure_images, progress)
        for name in COMPONENTS:
            ensure(name, progress)
        return images.result()


def _announce_builds(names: Iterable[str], progress: Progress) -> None:
    missing = [COMPONENTS[name] for name in names if not is_built(name)]
    if missing:
        whole = timedelta(minutes=ceil(sum(component.minutes for component in missing)))
        progress.line(
            f"to compile, once: {', '.join(component.name for component in missing)};"
            f" about {format_duration(whole)} on two cores, then kept in the cache"
        )
