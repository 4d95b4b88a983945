"""A bad file stops itself alone; its last good version stays in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from guildnet import labels
from guildnet.kube import AGENT_TASKS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]


async def test_a_bad_file_is_told_with_its_line_while_others_go_on(
    site: Site, files: Files
) -> None:
    """I1, I10: quarantined with path and line; the repaired file starts the next run."""
    org, task = files
    site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/fix.yaml": task("fix")}
    )
    async with site.run():
        first = await site.until_task("fix", bool)
        bad = task("fix").replace("prompt", "promt")
        site.repo.commit({"tasks/acme/fix.yaml": bad, "tasks/acme/new.yaml": task("new")})
        found = await site.until_org(lambda org: org.get("quarantined"))
        (entry,) = [e for e in found["quarantined"] if "unknown field" in e["message"]]
        assert (entry["path"], entry["line"]) == ("tasks/acme/fix.yaml", 5)
        assert "did you mean 'prompt'" in entry["message"]
        await site.until_task("new", bool)
        same = await site.task("fix")
        assert same is not None
        assert same["spec"] == first["spec"]

        await site.client.delete(AGENT_TASKS, "fix")
        await site.until_task(
            "fix", lambda obj: obj and obj["metadata"]["uid"] != first["metadata"]["uid"]
        )

        site.repo.commit({"tasks/acme/fix.yaml": task("fix", "mended")})
        await site.until_task("fix", lambda obj: obj["spec"]["run"] == 2)
        await site.until_org(lambda org: not org.get("quarantined"))


async def test_a_bad_org_file_leaves_its_last_good_version_in_force(
    site: Site, files: Files
) -> None:
    """I1: across a restart too."""
    org, task = files
    good = org(namespace=site.namespace)
    site.repo.commit({"orgs/acme.yaml": good, "tasks/acme/fix.yaml": task("fix")})
    async with site.run():
        await site.until_task("fix", bool)
        site.repo.commit({"orgs/acme.yaml": good.replace("kubeconfig: acme", "kubeconfig: ../x")})
        await site.until_org(lambda org: org.get("quarantined"))
        site.repo.commit({"tasks/acme/two.yaml": task("two")})
        await site.until_task("two", bool)
    async with site.run():
        site.repo.commit({"tasks/acme/three.yaml": task("three")})
        obj = await site.until_task("three", bool)
        assert obj["metadata"]["labels"][labels.ORG] == "acme"
