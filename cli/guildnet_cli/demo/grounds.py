"""On which clusters the story is told: devclusters of its own, or those that one has already.

A place gives the ground that the story needs and takes it back afterwards; what happens on it
belongs in `surroundings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from guildnet.errors import ConfigurationError
from guildnet_devcluster import cluster
from guildnet_devcluster.preparation import prepare_everything
from guildnet_devcluster.progress import Progress

ACME, GLOBEX = "acme", "globex"
ORGS = (ACME, GLOBEX)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where each org's cluster is, what its nodes can pull, and where pods reach this machine."""

    kubeconfigs: Mapping[str, Path]
    operator_image: str
    work_image: str
    host_address: str


class Place(Protocol):
    """Where the story may take place. `down` after nothing, or after half of `up`, is no error."""

    def up(self, progress: Progress) -> Ground: ...

    def down(self) -> None: ...


class DevClusters:
    """Two devclusters with a node each, `<prefix>-acme` and `<prefix>-globex`, and our images."""

    def __init__(self, prefix: str = "demo") -> None:
        self._names = {org: f"{prefix}-{org}" for org in ORGS}

    def up(self, progress: Progress) -> Ground:
        """Raises ConfigurationError, with the way out, on a machine that cannot carry nodes."""
        try:
            cluster.require_node_machine()
        except ConfigurationError as error:
            raise ConfigurationError(
                error.message,
                place="demo",
                cure="run it as root on Linux, or give clusters of your own with --kubeconfig",
            ) from error
        built = prepare_everything(progress)

        def bring_up(name: str) -> cluster.Cluster:
            images = (built.operator, built.work)
            return cluster.up(name, node=True, progress=progress, images=images)

        with ThreadPoolExecutor() as pool:
            found = dict(zip(ORGS, pool.map(bring_up, self._names.values()), strict=True))
        return Ground(
            kubeconfigs={org: ready.kubeconfig for org, ready in found.items()},
            operator_image=built.operator.name,
            work_image=built.work.name,
            # Either node's way out leads to this machine, which has both addresses.
            host_address=found[ACME].host_address,
        )

    def down(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(cluster.down, self._names.values()))


def namespace_of(org: str) -> str:
    """The org's own, so that one cluster may carry both; the demo deletes it at its end."""
    return f"guildnet-demo-{org}"
