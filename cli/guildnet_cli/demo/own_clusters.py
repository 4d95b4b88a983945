"""Clusters that were there before the demo: what it finds is noted, and what it brought it takes.

Taken away are the orgs' namespaces and operators and, where the demo brought them and nobody else
uses them by then, the namespace of operators and the definition of AgentTasks. A definition that
was there before may have been upgraded, and stays so.
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
from guildnet_cli.demo.grounds import Ground, namespace_of
from guildnet_cli.installation import manifests
from guildnet_cli.org_cluster import OrgCluster
from guildnet_devcluster.progress import Progress

#: An agent has two minutes to end, and its namespace goes after it.
_PODS_END_WITHIN = timedelta(seconds=150)
_GONE_WITHIN = timedelta(minutes=5)
_DEFINITION = str(schema.crd()["metadata"]["name"])


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What a cluster had of GuildNet before the demo."""

    definition: bool
    operators_namespace: bool


class OwnClusters:
    """The clusters of `ground`; what was found in them is noted in the file `record`."""

    def __init__(self, ground: Ground, record: Path) -> None:
        self._ground = ground
        self._record = record

    def up(self, progress: Progress) -> Ground:
        """Changes nothing yet. Raises ConfigurationError where a namespace of the demo exists."""
        with progress.step("looking at your clusters"):
            found = asyncio.run(_for_each(self._ground.kubeconfigs, _found))
        kubeconfigs = self._ground.kubeconfigs
        noted = {org: [str(kubeconfigs[org]), asdict(each)] for org, each in found.items()}
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(json.dumps(noted))
        return self._ground

    def down(self) -> None:
        leave(self._record)


def leave(record: Path) -> None:
    """Take the demo out of the clusters that `record` names; no such file is nothing to do.

    Raises GuildNetError, with what to do, where a cluster cannot be asked.
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
            f"the demo could not be taken out of its cluster: {error.message}",
            place=error.place,
            cure=f"Run `guildnet demo --down` once it answers; or give it up: rm {record}",
        ) from error
    record.unlink()


async def _leave(kubeconfigs: Mapping[str, Path], found: Mapping[str, Found]) -> None:
    async def take_rest(org: str, client: KubeClient) -> None:
        await _take_out_rest(client, found[org])

    await _for_each(kubeconfigs, _take_out_org)
    # Only now: orgs may share a cluster.
    await _for_each(kubeconfigs, take_rest)


async def _for_each(
    kubeconfigs: Mapping[str, Path], act: Callable[[str, KubeClient], Awaitable[T]]
) -> dict[str, T]:
    """What `act` gives for each org, side by side; raises the first failure once all are done."""

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
            f"namespace {client.namespace} exists already",
            place=client.place,
            cure=f"If a demo left it: kubectl delete namespace {client.namespace}",
        )
    definition = await client.find(CUSTOM_RESOURCE_DEFINITIONS, _DEFINITION)
    operators = await client.find(NAMESPACES, labels.OPERATOR_NAMESPACE)
    return Found(definition is not None, operators is not None)


async def _take_out_org(org: str, client: KubeClient) -> None:
    """The org's operator first, so that nothing makes anew what goes with the namespace."""
    place = OrgCluster(org, Path(), None, client.namespace)
    for obj in reversed(manifests(place, image=None, work_image=None)):
        if obj["metadata"].get("namespace") == labels.OPERATOR_NAMESPACE:
            with suppress(KubeNotFound):
                meta = obj["metadata"]
                await client.delete(kind_of(obj), meta["name"], meta["namespace"])
    for task in await _agent_tasks(client, client.namespace):
        name = task["metadata"]["name"]
        # Nobody is left to record it, which is what the finalizer waits for.
        patch: dict[str, Any] = {"metadata": {"finalizers": None}}
        with suppress(KubeNotFound):
            await client.patch(AGENT_TASKS, name, patch)
            await client.delete(AGENT_TASKS, name)
    await _delete_namespace(client, client.namespace)


async def _take_out_rest(client: KubeClient, found: Found) -> None:
    """What orgs share, where the demo brought it and nobody else uses it by now."""
    system = labels.OPERATOR_NAMESPACE
    if await client.list_all(DEPLOYMENTS, system):
        return  # an operator of somebody's, who may not have a task yet
    if not found.operators_namespace:
        await _delete_namespace(client, system)
    if not (found.definition or await _agent_tasks(client, "")):
        await _delete(client, CUSTOM_RESOURCE_DEFINITIONS, _DEFINITION)


async def _agent_tasks(client: KubeClient, namespace: str) -> list[dict[str, Any]]:
    """None where the cluster does not know the kind."""
    try:
        return await client.list_all(AGENT_TASKS, namespace)
    except KubeNotFound:
        return []


async def _delete_namespace(client: KubeClient, name: str) -> None:
    # Where pods are still ending, Kubernetes looks at a namespace again only after half of their
    # grace, which may be a minute.
    deadline = time.monotonic() + _PODS_END_WITHIN.total_seconds()
    while await client.list_all(PODS, name):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    await _delete(client, NAMESPACES, name)


async def _delete(client: KubeClient, kind: ResourceKind, name: str) -> None:
    """Delete it and wait until it is gone; KubeError, with its own words, where it stays."""
    with suppress(KubeNotFound):
        await client.delete(kind, name)
    deadline = time.monotonic() + _GONE_WITHIN.total_seconds()
    while (left := await client.find(kind, name)) is not None:
        if time.monotonic() > deadline:
            told = [c["message"] for c in left.get("status", {}).get("conditions") or ()]
            raise KubeError(
                f"{kind.kind} {name} does not go: {'; '.join(told) or 'no reason is given'}",
                place=client.place,
            )
        await asyncio.sleep(0.2)
