"""The programs of this host that serve a site: its registry, volumes and network policies."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from guildnet_devcluster import processes
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.processes import Process

from . import network
from .machine import VOLUMES
from .network import SiteNetwork
from .patches import REGISTRY_PORT

REGISTRY = "registry"
_VOLUMES = "volumes"


def start_registry(layout: Layout, site: SiteNetwork, archives: Path) -> Process:
    """Serve the docker-archives in the folder `archives`, and those added to the site."""
    for archive in archives.glob("*.tar"):
        add_archive(layout, archive)
    module = [sys.executable, "-m", "guildnet_devcluster.archive_registry"]
    listen = [f"--address={site.host_address}", f"--port={REGISTRY_PORT}"]
    return processes.start(layout, REGISTRY, [*module, *listen, str(_served(layout))])


def add_archive(layout: Layout, archive: Path) -> None:
    """Let the site's registry serve the images of a docker-archive."""
    folder = _served(layout)
    folder.mkdir(exist_ok=True)
    partial = folder / f".{archive.name}.partial"
    partial.unlink(missing_ok=True)
    try:
        os.link(archive, partial)
    except OSError:
        shutil.copyfile(archive, partial)
    partial.replace(folder / archive.name)


def cluster_services(machines: Sequence[str]) -> list[str]:
    """The names of the processes that serve the Kubernetes cluster of the machines."""
    return [_VOLUMES, *map(_policies, machines)]


def start_cluster_services(layout: Layout, machines: Sequence[str]) -> None:
    """Provide volumes and enforce network policies, unless that is running already.

    Both use the cluster's kubeconfig in `layout`, and wait while its API server is down.
    """
    alive = {process.name for process in processes.recorded(layout) if process.is_alive}
    config = f"--kubeconfig={layout.kubeconfig}"
    if _VOLUMES not in alive:
        module = [sys.executable, "-m", "guildnet_devcluster.volume_provisioner"]
        flags = [config, f"--folder={layout.volumes}", f"--node-folder={VOLUMES}"]
        processes.start(layout, _VOLUMES, [*module, *flags])
    for machine in machines:
        name = _policies(machine)
        if name not in alive:
            inside = ["nsenter", f"--net={network.namespace(layout, machine)}"]
            module = [sys.executable, "-m", "guildnet_devcluster.network_policy_enforcer"]
            processes.start(layout, name, [*inside, *module, config])


def _policies(machine: str) -> str:
    return f"policies-{machine}"


def _served(layout: Layout) -> Path:
    return layout.data / "images"
