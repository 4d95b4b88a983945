"""A commit becomes an AgentTask, an edit its next run, a deletion is pruned."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from guildnet import labels
from guildnet.kube import CONFIG_MAPS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]


async def test_the_life_of_a_task(site: Site, files: Files) -> None:
    """I2, I6, I7: created, recorded, edited into run 2, pruned, its numbering kept."""
    org, task = files
    one = site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/fix.yaml": task("fix")}
    )
    async with site.run():
        obj = await site.until_task("fix", bool)
        assert obj["spec"]["run"] == 1
        assert obj["metadata"]["annotations"][labels.SOURCE_REVISION] == one
        assert obj["metadata"]["finalizers"] == [labels.RECORDED_FINALIZER]
        await site.until_record("fix", lambda record: record.get("run") == 1)
        await site.until_org(lambda org: org.get("applied") == one)
        claim = await site.client.get(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
        assert claim["data"]["org"] == "acme"
        assert claim["data"]["applied"] == one

        site.repo.commit({"tasks/acme/fix.yaml": task("fix", "do something else")})
        await site.until_task("fix", lambda obj: obj and obj["spec"]["run"] == 2)
        await site.until_record("fix", lambda record: record.get("run") == 2)

        site.repo.commit({"tasks/acme/fix.yaml": None})
        await site.until_task("fix", lambda obj: obj is None)
        removed = await site.until_status("removed/fix.json", bool)
        assert removed["run"] == 2
        assert site.repo.status("orgs/acme/tasks/fix/status.json") is None


async def test_a_task_that_comes_back_goes_on_numbering(site: Site, files: Files) -> None:
    """I7: with the prompt of a finished run it is restored as finished; with another it is the
    next run."""
    org, task = files
    site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/fix.yaml": task("fix")}
    )
    async with site.run():
        await site.until_task("fix", bool)
        await site.report("fix")
        await site.until_record("fix", lambda record: record.get("result") == "TaskSucceeded")
        site.repo.commit({"tasks/acme/fix.yaml": None})
        await site.until_status("removed/fix.json", lambda removed: removed.get("run") == 1)

        back = site.repo.commit({"tasks/acme/fix.yaml": task("fix")})
        record = await site.until_record("fix", bool)
        assert (record["run"], record["result"]) == (1, "TaskSucceeded")
        await site.until_org(lambda org: org.get("applied") == back)
        assert await site.task("fix") is None

        site.repo.commit({"tasks/acme/fix.yaml": task("fix", "other words")})
        await site.until_task("fix", lambda obj: obj and obj["spec"]["run"] == 2)


async def test_dependents_are_told_when_what_they_wait_for_has_succeeded(
    site: Site, files: Files
) -> None:
    """Only the reconciler sets `dependenciesSucceeded`, from the record."""
    org, task = files
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace),
            "tasks/acme/first.yaml": task("first"),
            "tasks/acme/second.yaml": task("second", more="dependsOn: [first]\n"),
        }
    )
    async with site.run():
        waiting = await site.until_task("second", bool)
        assert waiting["spec"]["dependenciesSucceeded"] is False
        await site.until_task("first", bool)
        await site.report("first")
        await site.until_task("second", lambda obj: obj["spec"]["dependenciesSucceeded"] is True)
