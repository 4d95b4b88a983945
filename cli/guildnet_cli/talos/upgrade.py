"""`guildnet talos upgrade-k8s`: Kubernetes to the version that git names, and to no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from guildnet.errors import ConfigurationError
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.configuration import unreachable
from guildnet.talos.machines import MachineState, probe_all
from guildnet.talos.spec import with_v
from guildnet.talos.talosctl import at_machine
from guildnet.talos.versions import parsed
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.talos.health import nodes_of

TIMEOUT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """From which versions (server, then nodes) to which; whether anything was left to do."""

    before: tuple[str, ...]
    after: str
    upgraded: bool


def upgrade_kubernetes(
    cluster: TalosCluster, org_cluster: OrgCluster, progress: Callable[[str], None]
) -> Upgraded:
    """Run `talosctl upgrade-k8s` where the API server or a node has another version.

    Raises ConfigurationError for a downgrade and where a machine does not answer: it would be left
    behind.
    """
    wanted = cluster.spec.kubernetes_version
    before = asyncio.run(_versions(org_cluster))
    if all(version == wanted for version in before):
        return Upgraded(before, wanted, upgraded=False)
    newer = [version for version in before if parsed(_release(version)) > parsed(wanted)]
    if newer:
        raise ConfigurationError(
            f"the cluster runs Kubernetes {newer[0]}, newer than git's {wanted}",
            place=f"orgs/{cluster.spec.org}.yaml",
            cure="Kubernetes cannot be downgraded: correct spec.talos.kubernetesVersion.",
        )
    for found in probe_all(cluster.tool, cluster.spec.machines):
        if found.state is not MachineState.OURS:
            raise unreachable(found.machine, found.message or str(found.state))
    first = cluster.spec.control_planes[0].address
    done = cluster.tool.finished(
        *("upgrade-k8s", *at_machine(first), "--to", wanted.removeprefix("v")),
        *("--endpoint", cluster.spec.endpoint, "--with-docs=false", "--with-examples=false"),
        timeout=TIMEOUT,
        progress=progress,
    )
    if done.timed_out or done.status != 0:
        raise cluster.tool.failure(done, "upgrade-k8s", TIMEOUT, first)
    return Upgraded(before, wanted, upgraded=True)


async def _versions(cluster: OrgCluster) -> tuple[str, ...]:
    async with cluster.client() as client:
        server = await client.version()
    return tuple(sorted({with_v(server), *(n.version for n in await nodes_of(cluster))}))


def _release(version: str) -> str:
    """`v1.36.2` of `v1.36.2+k3s1` and `v1.36.2-rc.0`."""
    return version.partition("+")[0].partition("-")[0]
