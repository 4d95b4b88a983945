"""What takes long the first time, done before anything waits for it: programs and images.

Images wait mostly for the network and compilers for the processor, so the two go side by side.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from .cluster import CONTROL_PLANE_COMPONENTS, require_node_machine
from .components import COMPONENTS, ensure
from .images import Images, ensure_images
from .packages import IMAGE_PACKAGES, NODE_PACKAGES, ensure_packages
from .progress import Progress


def prepare_control_plane(progress: Progress) -> None:
    """Compile what `up --no-node` runs. Raises GuildNetError where it cannot be built."""
    for name in CONTROL_PLANE_COMPONENTS:
        ensure(name, progress)


def prepare_everything(progress: Progress) -> Images:
    """Compile every program and build both images; returns the images.

    Raises ConfigurationError on a machine that cannot carry a node, GuildNetError where
    something cannot be built.
    """
    require_node_machine()
    ensure_packages([*NODE_PACKAGES, *IMAGE_PACKAGES], progress)
    with ThreadPoolExecutor() as pool:
        images = pool.submit(ensure_images, progress)
        for name in COMPONENTS:
            ensure(name, progress)
        return images.result()
