"""A record that is missing or cannot be read lets nothing run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING

import pytest

from guildnet import labels
from guildnet.kube import AGENT_TASKS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]
Tree = Mapping[str, str | None]


@pytest.mark.parametrize("content", ["{}", "no JSON"])
async def test_an_unreadable_record_stops_its_task_alone(
    site: Site, files: Files, acme: Tree, content: str
) -> None:
    """I1, I7: it is not overwritten from the cluster, and its AgentTask keeps the finalizer."""
    site.repo.commit(acme)
    async with site.run():
        await site.until_record("live", bool)
        await site.begin("live")
        await site.until_record("live", lambda record: record.get("start") == 1)
        await site.until_org(lambda org: org.get("applied"))
    path = "orgs/acme/tasks/live/status.json"
    site.repo.git("fetch", "-q", "origin", "status")
    site.repo.git("checkout", "-q", "-B", "status", "FETCH_HEAD")
    (site.repo.work / path).write_text(content)
    site.repo.git("commit", "-q", "-am", "broken")
    site.repo.git("push", "-q", "origin", "status")
    site.repo.git("checkout", "-q", "main")
    async with site.run():
        site.repo.commit({"tasks/acme/new.yaml": files[1]("new")})
        await site.until_task("new", bool)
        found = await site.until_org(lambda org: org.get("faults"))
        assert found["faults"][0]["reason"] == "RecordUnreadable"
        await site.client.delete(AGENT_TASKS, "live")
        await site.report("live")
        await site.until_task("live", lambda obj: "deletionTimestamp" in obj["metadata"])
        site.repo.commit({"tasks/acme/more.yaml": files[1]("more")})
        await site.until_record("more", bool)
        assert await site.task("live") is not None
        assert site.repo.git("show", f"status:{path}", at=site.repo.remote) == content


async def test_a_branch_that_others_made_anew_holds_the_org(
    site: Site, acme: Tree, tmp_path: Path
) -> None:
    """I7: a reconciler of other orgs made the branch; the cluster remembers work without records,
    and its finished run does not run again."""
    site.repo.commit(acme)
    async with site.run():
        await site.until_task("over", bool)
        await site.report("over")
        await site.until_record("over", lambda record: record.get("result"))
        await site.until_org(lambda org: org.get("applied"))
        await site.client.delete(AGENT_TASKS, "over")
        await site.until_task("over", lambda obj: obj is None)
    site.repo.git("update-ref", "-d", "refs/heads/status", at=site.repo.remote)
    for name in ("theirs", "ours"):
        copytree(site.settings.state_dir / "kube", tmp_path / name / "kube")
    async with site.run(state_dir=tmp_path / "theirs", org="globex"):
        assert site.repo.git("rev-parse", "status", at=site.repo.remote)
    site.settings = replace(site.settings, state_dir=tmp_path / "ours")
    async with site.run():
        found = await site.until_org(lambda org: org.get("faults"))
        assert found["faults"][0]["reason"] == "StatusBranchLost"
        assert await site.task("over") is None


async def test_another_run_number_written_in_the_cluster_is_put_right(
    site: Site, acme: Tree
) -> None:
    """I7: it is neither recorded nor run; the Event names the changed field."""
    site.repo.commit(acme)
    async with site.run():
        await site.until_task("over", bool)
        await site.report("over")
        await site.until_record("over", lambda record: record.get("result"))
        await site.client.patch(
            AGENT_TASKS, "over", {"spec": {"run": 9}}, field_manager="somebody-else"
        )
        await site.until_task("over", lambda obj: obj["spec"]["run"] == 1)
        record = site.repo.status("orgs/acme/tasks/over/status.json")
        assert (record["run"], record["result"]) == (1, "TaskSucceeded")


async def test_the_finalizer_comes_back(site: Site, acme: Tree) -> None:
    """I6: without it a deletion could outrun the record."""
    site.repo.commit(acme)
    async with site.run():
        await site.until_record("live", bool)
        await site.client.patch(AGENT_TASKS, "live", {"metadata": {"finalizers": None}})
        await site.until_task(
            "live", lambda obj: labels.RECORDED_FINALIZER in obj["metadata"].get("finalizers", [])
        )


async def test_another_orgs_agent_tasks_are_not_ours(site: Site, acme: Tree) -> None:
    """I2: left in the namespace by an org that had it before; our label alone is not enough."""
    theirs = {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {
            "name": "left",
            "namespace": site.namespace,
            "labels": {labels.MANAGED_BY: labels.RECONCILER, labels.ORG: "globex"},
        },
        "spec": {"prompt": "theirs", "run": 1},
    }
    before = await site.client.create(theirs)
    tip = site.repo.commit(acme)
    async with site.run():
        await site.until_org(lambda org: org.get("applied") == tip)
        after = await site.client.get(AGENT_TASKS, "left")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
