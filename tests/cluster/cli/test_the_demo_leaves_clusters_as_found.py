"""`guildnet demo` on the user's own clusters: it removes what it installed and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from guildnet import kube, labels, schema
from guildnet.errors import ConfigurationError, KubeNotFound
from guildnet_cli.cluster.installation import manifests
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_demo.existing_clusters import ExistingClusterSite
from guildnet_demo.sites import ORGS, SiteDetails, namespace_of
from guildnet_demo.steps import Look, until
from guildnet_devcluster.progress import progress_to

DEFINITION = str(schema.crd()["metadata"]["name"])


@pytest.fixture
async def client(control_plane: Path) -> AsyncIterator[kube.KubeClient]:
    async with kube.KubeClient.from_kubeconfig(control_plane) as made:
        yield made


@pytest.fixture
def own(control_plane: Path, tmp_path: Path) -> ExistingClusterSite:
    """One cluster for both orgs."""
    details = SiteDetails(dict.fromkeys(ORGS, control_plane), "op:1", "work:1", "192.0.2.1")
    return ExistingClusterSite(details, tmp_path / "demo" / "existing-clusters.json")


async def of_the_demo(client: kube.KubeClient) -> set[str]:
    """Which of the demo's objects exist; other tests share the cluster."""
    may_bring = {labels.OPERATOR_NAMESPACE, DEFINITION, *map(namespace_of, ORGS)}
    there = {
        obj["metadata"]["name"]
        for kind in (kube.NAMESPACES, kube.CUSTOM_RESOURCE_DEFINITIONS)
        for obj in await client.list_all(kind)
    }
    return there & may_bring


def is_gone(client: kube.KubeClient, namespace: str) -> Look[bool]:
    async def look() -> bool | None:
        return True if await client.find(kube.NAMESPACES, namespace) is None else None

    return look


async def gone(client: kube.KubeClient, *namespaces: str) -> None:
    """Delete them and wait, so that the next test does not find one being deleted."""
    for name in namespaces:
        with suppress(KubeNotFound):
            await client.delete(kube.NAMESPACES, name)
    for name in namespaces:
        await until(f"end of namespace {name}", is_gone(client, name), timedelta(minutes=2))


async def install(client: kube.KubeClient, namespace: str, kubeconfig: Path) -> None:
    """What `org install` applies, and an AgentTask whose record will never be written."""
    place = OrgCluster("any", kubeconfig, None, namespace)
    for obj in manifests(place, image="op:1", work_image="work:1"):
        if obj["kind"] == "Namespace":
            await client.ensure_namespace(obj["metadata"]["name"], {})
        else:
            await client.apply(obj, field_manager="test")
    task = {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {
            "name": "fix",
            "namespace": namespace,
            "finalizers": [labels.RECORDED_FINALIZER],
        },
        "spec": {"prompt": "x", "run": 1},
    }
    async with asyncio.timeout(60):
        while True:
            try:
                await client.apply(task, field_manager="test")
                return
            except KubeNotFound:  # the definition is not served yet
                await asyncio.sleep(0.1)


async def test_it_removes_what_it_installed(
    own: ExistingClusterSite, client: kube.KubeClient, control_plane: Path
) -> None:
    """I2: also where both orgs share a cluster."""
    before = await of_the_demo(client)
    await asyncio.to_thread(own.up, progress_to())
    assert await of_the_demo(client) == before
    for org in ORGS:
        await install(client, namespace_of(org), control_plane)
    assert await of_the_demo(client) != before
    await asyncio.to_thread(own.down)
    assert await of_the_demo(client) == before
    assert await client.list_all(kube.DEPLOYMENTS, labels.OPERATOR_NAMESPACE) == []
    await asyncio.to_thread(own.down)


async def test_what_another_org_uses_is_kept(
    own: ExistingClusterSite, client: kube.KubeClient, control_plane: Path
) -> None:
    """I2: an org installed while the demo ran keeps its operator, CRD and tasks."""
    await asyncio.to_thread(own.up, progress_to())
    await install(client, namespace_of(ORGS[0]), control_plane)
    await install(client, "another-org", control_plane)
    await asyncio.to_thread(own.down)
    assert await of_the_demo(client) == {labels.OPERATOR_NAMESPACE, DEFINITION}
    assert await client.find(kube.AGENT_TASKS, "fix", "another-org") is not None
    deployments = await client.list_all(kube.DEPLOYMENTS, labels.OPERATOR_NAMESPACE)
    assert [d["metadata"]["name"] for d in deployments] == ["guildnet-operator-another-org"]
    patch = {"metadata": {"finalizers": None}}
    await client.patch(kube.AGENT_TASKS, "fix", patch, "another-org")
    await gone(client, "another-org", labels.OPERATOR_NAMESPACE)


async def test_an_existing_namespace_is_not_used(
    own: ExistingClusterSite, client: kube.KubeClient
) -> None:
    """I2, I10: the demo refuses to start, says what to do, and deletes nothing."""
    taken = namespace_of(ORGS[1])
    await client.ensure_namespace(taken, {})
    with pytest.raises(ConfigurationError, match=f"namespace {taken} already exists"):
        await asyncio.to_thread(own.up, progress_to())
    await asyncio.to_thread(own.down)
    found = await client.get(kube.NAMESPACES, taken)
    assert "deletionTimestamp" not in found["metadata"]
    await gone(client, taken)
