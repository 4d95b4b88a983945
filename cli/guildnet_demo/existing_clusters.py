"""The user's own clusters: the demo records what it finds and removes what it installed.

It removes the orgs' namespaces and operators. It also removes the operators' namespace and the
AgentTask CRD if it created them and nothing else uses them by then. A CRD that existed before may
have been upgraded, and stays upgraded.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from guildnet import labels, schema
from guildnet.errors import ConfigurationError, GuildNetError, KubeError, KubeNotFound
from guildnet.kube import (
    AGENT_TASKS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    KubeClient,
    ResourceKind,
    kind_of,
)
from guildnet_cli.cluster.installation import manifests
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_demo.sites import SiteDetails, namespace_of
from guildnet_devcluster.progress import Progress

#: An agent has two minutes to terminate; its namespace is deleted afterwards.
_PODS_END_WITHIN = timedelta(seconds=150)
_GONE_WITHIN = timedelta(minutes=5)
_DEFINITION = str(schema.crd()["metadata"]["name"])


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """Which parts of GuildNet a cluster had before the demo."""

    definition: bool
    operators_namespace: bool


class ExistingClusterSite:
    """The clusters of `details`; the file `record` keeps what they held before the demo."""

    def __init__(self, details: SiteDetails, record: Path) -> None:
        self._details = details
        self._record = record

    def up(self, progress: Progress) -> SiteDetails:
        """Changes nothing yet. Raises ConfigurationError if a demo namespace exists."""
        with progress.step("inspecting your clusters"):
            found = asyncio.run(_for_each(self._details.kubeconfigs, _found))
        kubeconfigs = self._details.kubeconfigs
        noted = {org: [str(kubeconfigs[org]), asdict(each)] for org, each in found.items()}
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(json.dumps(noted))
        return self._details

    def down(self) -> None:
        leave(self._record)


def leave(record: Path) -> None:
    """Remove the demo from the clusters that `record` names; do nothing if it is missing.

    Raises GuildNetError if a cluster cannot be reached.
    """
    try:
        noted = json.loads(record.read_text())
    except FileNotFoundError:
        return
    kubeconfigs = {org: Path(kubeconfig) for org, (kubeconfig, _) in noted.items()}
    found = {org: Found(**each) for org, (_, each) in noted.items()}
    try:
        asyncio.run(_leave(kubeconfigs, found))
    except (KubeError, ConfigurationError) as error:
        raise GuildNetError(
            f"the demo could not be removed from its cluster: {error.message}",
            place=error.place,
            cure=f"Run `guildnet demo --down` when it answers, or abandon it: rm {record}",
        ) from error
    record.unlink()


async def _leave(kubeconfigs: Mapping[str, Path], found: Mapping[str, Found]) -> None:
    async def remove_org(org: str, client: KubeClient) -> None:
        await _remove_org(OrgCluster(org, kubeconfigs[org], None, client.namespace), client)

    async def remove_shared(org: str, client: KubeClient) -> None:
        await _remove_shared(client, found[org])

    await _for_each(kubeconfigs, remove_org)
    # After all orgs, because they may share a cluster.
    await _for_each(kubeconfigs, remove_shared)


async def _for_each(
    kubeconfigs: Mapping[str, Path], act: Callable[[str, KubeClient], Awaitable[T]]
) -> dict[str, T]:
    """Run `act` for each org concurrently; raise the first failure once all are done."""

    async def one(org: str) -> T:
        async with KubeClient.from_kubeconfig(
            kubeconfigs[org], namespace=namespace_of(org)
        ) as client:
            return await act(org, client)

    results = await asyncio.gather(*map(one, kubeconfigs), return_exceptions=True)
    done: dict[str, T] = {}
    for org, result in zip(kubeconfigs, results, strict=True):
        if isinstance(result, BaseException):
            raise result
        done[org] = result
    return done


async def _found(org: str, client: KubeClient) -> Found:
    if await client.find(NAMESPACES, client.namespace) is not None:
        raise ConfigurationError(
            f"namespace {client.namespace} already exists",
            place=client.place,
            cure=f"If a demo left it: kubectl delete namespace {client.namespace}",
        )
    definition = await client.find(CUSTOM_RESOURCE_DEFINITIONS, _DEFINITION)
    operators = await client.find(NAMESPACES, labels.OPERATOR_NAMESPACE)
    return Found(definition is not None, operators is not None)


async def _remove_org(cluster: OrgCluster, client: KubeClient) -> None:
    """Remove the operator first, so that it does not recreate what the namespace takes along."""
    for obj in reversed(manifests(cluster, image=None, work_image=None)):
        if obj["metadata"].get("namespace") == labels.OPERATOR_NAMESPACE:
            with suppress(KubeNotFound):
                meta = obj["metadata"]
                await client.delete(kind_of(obj), meta["name"], meta["namespace"])
    for task in await _agent_tasks(client, client.namespace):
        name = task["metadata"]["name"]
        # The finalizer waits for the reconciler to record the task, and that is gone.
        patch: dict[str, Any] = {"metadata": {"finalizers": None}}
        with suppress(KubeNotFound):
            await client.patch(AGENT_TASKS, name, patch)
            await client.delete(AGENT_TASKS, name)
    await _delete_namespace(client, client.namespace)


async def _remove_shared(client: KubeClient, found: Found) -> None:
    """Remove what orgs share, if the demo installed it and nothing else uses it."""
    system = labels.OPERATOR_NAMESPACE
    if await client.list_all(DEPLOYMENTS, system):
        return  # another operator is installed, possibly without tasks yet
    if not found.operators_namespace:
        await _delete_namespace(client, system)
    if not (found.definition or await _agent_tasks(client, "")):
        await _delete(client, CUSTOM_RESOURCE_DEFINITIONS, _DEFINITION)


async def _agent_tasks(client: KubeClient, namespace: str) -> list[dict[str, Any]]:
    """Empty if the cluster does not know the kind."""
    try:
        return await client.list_all(AGENT_TASKS, namespace)
    except KubeNotFound:
        return []


async def _delete_namespace(client: KubeClient, name: str) -> None:
    # While pods terminate, the namespace controller retries only after half their grace period,
    # which may be a minute.
    deadline = time.monotonic() + _PODS_END_WITHIN.total_seconds()
    while await client.list_all(PODS, name):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    await _delete(client, NAMESPACES, name)


async def _delete(client: KubeClient, kind: ResourceKind, name: str) -> None:
    """Delete it and wait until it is gone. Raises KubeError with its conditions if it stays."""
    with suppress(KubeNotFound):
        await client.delete(kind, name)
    deadline = time.monotonic() + _GONE_WITHIN.total_seconds()
    while (left := await client.find(kind, name)) is not None:
        if time.monotonic() > deadline:
            reasons = [c["message"] for c in left.get("status", {}).get("conditions") or ()]
            raise KubeError(
                f"{kind.kind} {name} is not deleted: {'; '.join(reasons) or 'no reason given'}",
                place=client.place,
            )
        await asyncio.sleep(0.2)
