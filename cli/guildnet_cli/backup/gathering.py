"""Gathers the items: from the state folder, the orgs' clusters, and the control plane's cluster."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from guildnet.errors import GuildNetError
from guildnet.kube import KubeClient
from guildnet.state_folder import state_folder, stored_kubeconfigs, write_private
from guildnet_cli.backup.items import (
    AGE_IDENTITY,
    Item,
    control_plane_items,
    local_items,
    org_items,
)
from guildnet_cli.cluster.org_cluster import find_cluster


async def gathered(
    files: Sequence[Path], repo: str | None, control_plane: Path | None, namespace: str
) -> list[Item]:
    """Everything to keep. Clusters are asked side by side: a dead one delays no other (I3).

    The orgs are those whose kubeconfig is stored here, or in a Secret of the `namespace` of the
    control plane's cluster, if its kubeconfig `control_plane` is given.
    """
    own = [*local_items(state_folder(), files), AGE_IDENTITY]
    plane: list[Item] = []
    in_secrets: Mapping[str, bytes] = {}
    if control_plane is not None:
        async with KubeClient.from_kubeconfig(control_plane, namespace=namespace) as client:
            plane, in_secrets = await control_plane_items(client)
    with tempfile.TemporaryDirectory(prefix="guildnet-") as folder:
        kubeconfigs: dict[str, Path | None] = dict.fromkeys(stored_kubeconfigs())
        for org, content in in_secrets.items():
            kubeconfigs[org] = path = Path(folder) / f"{org}.config"
            write_private(path, content)
        asked = [_of_org(org, repo, path) for org, path in kubeconfigs.items()]
        found = await asyncio.gather(*asked)
    return [*own, *plane, *(item for items in found for item in items)]


async def _of_org(org: str, repo: str | None, kubeconfig: Path | None) -> list[Item]:
    try:
        cluster = find_cluster(org, repo=repo, kubeconfig=kubeconfig, context=None, namespace=None)
        async with cluster.client() as client:
            return await org_items(client, org)
    except GuildNetError as error:
        return [Item(f"secrets/{org}", problem=str(error))]
