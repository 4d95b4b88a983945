"""Objects without our label, and namespaces of another claimant, are never changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from guildnet import labels
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]


async def test_an_unlabelled_object_is_not_touched(site: Site, files: Files) -> None:
    """I2: neither overwritten by a task of its name, nor pruned when that task goes."""
    org, task = files
    theirs = {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {"name": "fix", "namespace": site.namespace},
        "spec": {"prompt": "theirs", "run": 1},
    }
    before = await site.client.create(theirs)
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace),
            "tasks/acme/fix.yaml": task("fix"),
            "tasks/acme/other.yaml": task("other"),
        }
    )
    async with site.run():
        await site.until_task("other", bool)
        org_json = await site.until_org(lambda org: org.get("faults"))
        assert org_json["faults"][0]["reason"] == "NotOwned"
        site.repo.commit({"tasks/acme/fix.yaml": None})
        await site.until_org(lambda org: not org.get("faults"))
        after = await site.client.get(AGENT_TASKS, "fix")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_claimed_namespace_is_left_to_its_claimant(site: Site, files: Files) -> None:
    """I2: another state repository's namespace gets nothing from us."""
    org, task = files
    claim = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": labels.ORG_CONFIG_MAP, "namespace": site.namespace},
        "data": {"org": "acme", "stateRepository": "https://git.example/other.git"},
    }
    before = await site.client.create(claim)
    site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/fix.yaml": task("fix")}
    )
    async with site.run():
        org_json = await site.until_org(lambda org: org.get("faults"))
        assert org_json["faults"][0]["reason"] == "NamespaceClaimed"
    assert await site.names() == set()
    after = await site.client.get(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
