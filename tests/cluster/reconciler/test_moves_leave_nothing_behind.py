"""An org that moves to another location starts there when the old location is empty."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from guildnet import labels
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS, KubeClient

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]
Tree = Mapping[str, str | None]


@pytest.fixture
async def elsewhere(site: Site) -> AsyncIterator[KubeClient]:
    """The new location: another namespace."""
    namespace = f"{site.namespace}-new"
    async with KubeClient.from_kubeconfig(site.kubeconfig, namespace=namespace) as client:
        await client.ensure_namespace(namespace, {labels.APP_NAME: "test"})
        yield client


async def names(client: KubeClient) -> set[str]:
    return {obj["metadata"]["name"] for obj in await client.list_all(AGENT_TASKS)}


async def until_names(client: KubeClient, wanted: set[str]) -> None:
    async with asyncio.timeout(20):
        while await names(client) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def moved(site: Site, files: Files, client: KubeClient) -> dict[str, str | None]:
    return {"orgs/acme.yaml": files[0](namespace=client.namespace)}


async def test_no_run_starts_before_the_old_namespace_is_empty(
    site: Site, files: Files, acme: Tree, elsewhere: KubeClient
) -> None:
    """I1, I7: runs that end in the old namespace meanwhile are recorded and their finalizers
    removed, even across a restart. Finished runs do not run again in the new namespace; others do,
    with their run number."""
    site.repo.commit(acme)
    async with site.run():
        await site.until_record("live", bool)
        site.repo.commit({**moved(site, files, elsewhere), "tasks/acme/new.yaml": files[1]("new")})
        found = await site.until_org(lambda org: org.get("held"))
        assert found["held"][0]["reason"] == "MoveHeld"
        assert "2 AgentTasks" in found["held"][0]["message"]
        await site.report("over")
        await site.until_record("over", lambda record: record.get("result"))
    async with site.run():
        await site.client.delete(AGENT_TASKS, "over")
        await until_names(site.client, {"live"})
        found = await site.until_org(lambda org: "1 AgentTask" in org["held"][0]["message"])
        assert found["location"]["namespace"] == site.namespace
        assert await names(elsewhere) == set()
        await site.client.delete(AGENT_TASKS, "live")
        await until_names(elsewhere, {"live", "new"})
        await until_names(site.client, set())
        assert await site.client.find(CONFIG_MAPS, labels.ORG_CONFIG_MAP) is None
        live = await elsewhere.get(AGENT_TASKS, "live")
        assert live["spec"]["run"] == 1
        found = await site.until_org(
            lambda org: not org.get("held") and org["applied"] == org["attempted"]
        )
        assert found["location"]["namespace"] == elsewhere.namespace


async def test_an_approval_is_for_one_move(
    site: Site, files: Files, acme: Tree, elsewhere: KubeClient
) -> None:
    """I1: the org starts at once; the approval does not cover a later move."""
    bad = {"tasks/acme/bad.yaml": "kind: [Task\n"}
    site.repo.commit({**acme, **bad})
    async with site.run():
        await site.until_record("live", bool)
        site.repo.commit(moved(site, files, elsewhere), "move\n\nApprove-Move: acme")
        await until_names(elsewhere, {"live", "over"})
        assert await names(site.client) == {"live", "over"}
        await site.until_org(lambda org: org["location"]["namespace"] == elsewhere.namespace)
        site.repo.commit({"orgs/acme.yaml": files[0](namespace=f"{site.namespace}-third")})
        found = await site.until_org(lambda org: org.get("held"))
        assert found["held"][0]["reason"] == "MoveHeld"


async def test_a_place_that_cannot_be_asked_is_not_empty(
    site: Site, files: Files, acme: Tree, elsewhere: KubeClient
) -> None:
    """I1: without the old kubeconfig it is unknown whether AgentTasks still run there."""
    site.repo.commit(acme)
    async with site.run():
        await site.until_record("live", bool)
    kube = site.settings.state_dir / "kube"
    shutil.move(kube / "acme.config", kube / "other.config")
    granted = {"other": frozenset({"acme"})}
    org = files[0](namespace=elsewhere.namespace).replace("kubeconfig: acme", "kubeconfig: other")
    site.repo.commit({"orgs/acme.yaml": org})
    async with site.run(granted_kubeconfigs=granted):
        found = await site.until_org(lambda org: org.get("held"))
        assert "an unknown number of AgentTasks" in found["held"][0]["message"]
        assert await names(elsewhere) == set()
        site.repo.commit({"orgs/acme/approvals.txt": "move"}, "it is lost\n\nApprove-Move: acme")
        await until_names(elsewhere, {"live", "over"})
