"""The clusters that the scenario runs on: throwaway devclusters, or the user's own.

A site brings its clusters up and takes them down; the services that run on them are in
`environment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from guildnet.errors import ConfigurationError
from guildnet_demo import model_endpoint
from guildnet_devcluster import cluster
from guildnet_devcluster.images import ensure_mesh_image
from guildnet_devcluster.preparation import prepare_everything, prepare_mesh
from guildnet_devcluster.progress import Progress

ACME, GLOBEX = "acme", "globex"
ORGS = (ACME, GLOBEX)
#: The coding agents in the devclusters' work image.
AGENTS = (model_endpoint.PRESET,)


@dataclass(frozen=True, slots=True)
class SiteDetails:
    """Each org's kubeconfig, the images its nodes can pull, and this machine's address for pods."""

    kubeconfigs: Mapping[str, Path]
    operator_image: str
    work_image: str
    host_address: str
    #: Only on devclusters of a demo with a mesh.
    mesh_image: str | None = None


class Site(Protocol):
    """Where the scenario runs. `down` also cleans up after a partial `up`, or after none."""

    def up(self, progress: Progress) -> SiteDetails: ...

    def down(self) -> None: ...


class DevClusterSite:
    """Two single-node devclusters, `<prefix>-acme` and `<prefix>-globex`, with our images: with
    `mesh`, also that of the mesh container."""

    def __init__(self, prefix: str = "demo", *, mesh: bool = False) -> None:
        self._names = {org: f"{prefix}-{org}" for org in ORGS}
        self._mesh = mesh

    def up(self, progress: Progress) -> SiteDetails:
        """Raises ConfigurationError on a machine that cannot run nodes."""
        try:
            cluster.require_node_machine()
        except ConfigurationError as error:
            raise ConfigurationError(
                error.message,
                place="demo",
                cure="run it as root on Linux, or use your own clusters with --kubeconfig",
            ) from error
        built = prepare_everything(progress, AGENTS)
        images = [built.operator, built.work]
        if self._mesh:
            prepare_mesh(progress)
            images.append(ensure_mesh_image(progress))

        def bring_up(name: str) -> cluster.Cluster:
            return cluster.up(name, node=True, progress=progress, images=images)

        with ThreadPoolExecutor() as pool:
            found = dict(zip(ORGS, pool.map(bring_up, self._names.values()), strict=True))
        return SiteDetails(
            kubeconfigs={org: ready.kubeconfig for org, ready in found.items()},
            operator_image=built.operator.name,
            work_image=built.work.name,
            # This machine has both clusters' host addresses, so either one works for all pods.
            host_address=found[ACME].host_address,
            mesh_image=images[-1].name if self._mesh else None,
        )

    def down(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(cluster.down, self._names.values()))


def namespace_of(org: str) -> str:
    """One namespace per org, so that both can share a cluster; the demo deletes it at its end."""
    return f"guildnet-demo-{org}"
