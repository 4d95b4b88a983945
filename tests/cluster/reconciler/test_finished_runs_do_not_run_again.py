"""Clusters hold live work, git holds history: what is over stays over."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

from guildnet import labels
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]


async def test_a_deleted_agent_task_of_a_finished_run_stays_deleted(
    site: Site, files: Files
) -> None:
    """I7: an AgentTask of an unfinished run is created again as the same run."""
    org, task = files
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace),
            "tasks/acme/over.yaml": task("over"),
            "tasks/acme/live.yaml": task("live"),
        }
    )
    async with site.run():
        first = await site.until_task("live", bool)
        await site.until_task("over", bool)
        pull = {"url": "https://git.example/acme/web/pulls/1", "state": "open", "number": 1}
        await site.report("over", pullRequest=pull, branch="guildnet/acme/over", logTail="done\n")
        record = await site.until_record("over", lambda record: record.get("result"))
        assert record["pullRequest"]["number"] == 1
        for name in ("over", "live"):
            await site.client.delete(AGENT_TASKS, name)
        again = await site.until_task(
            "live", lambda obj: obj and obj["metadata"]["uid"] != first["metadata"]["uid"]
        )
        assert again["spec"]["run"] == 1
        await site.until_task("over", lambda obj: obj is None)
        site.repo.commit({"tasks/acme/more.yaml": task("more")})
        await site.until_task("more", bool)
        assert await site.task("over") is None
        assert site.repo.status("orgs/acme/tasks/over/artifacts/last_pr.json") == pull
    async with site.run() as reconciler:
        site.repo.commit({"tasks/acme/over.yaml": task("over", "again, please")})
        next_run = await site.until_task("over", bool)
        assert next_run["spec"]["run"] == 2
        assert next_run["spec"]["continues"] == "guildnet/acme/over"
        assert reconciler.status.lost is None


async def test_an_expired_agent_task_is_deleted_and_its_record_stays(
    site: Site, files: Files
) -> None:
    """I7: `ttlAfterFinished` ends the object, outside of the deletion budget."""
    org, task = files
    more = "prune: {maxPercent: 0, minObjects: 0}\n"
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace, more=more),
            "tasks/acme/brief.yaml": task("brief", more="ttlAfterFinished: 1s\n"),
        }
    )
    async with site.run():
        await site.until_task("brief", bool)
        await site.report("brief", "TaskFailed")
        await site.until_task("brief", lambda obj: obj is None)
        record = await site.until_record("brief", lambda record: record.get("result"))
        assert record["result"] == "TaskFailed"


async def test_artifacts_come_from_the_operators_config_map(site: Site, files: Files) -> None:
    """I6: bodies with the reported digest are on the branch before the finalizer is removed."""
    import hashlib

    org, task = files
    body = '{"answer":42}'
    site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/fix.yaml": task("fix")}
    )
    async with site.run():
        await site.until_task("fix", bool)
        bodies = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "fix-artifacts", "namespace": site.namespace},
            "binaryData": {"report.json": base64.b64encode(body.encode()).decode()},
        }
        await site.client.create(bodies)
        digest = hashlib.sha256(body.encode()).hexdigest()
        reported = [{"name": "report.json", "bytes": len(body), "sha256": digest}]
        await site.report("fix", artifacts=reported, artifactsConfigMap="fix-artifacts")
        record = await site.until_record("fix", lambda record: record.get("result"))
        assert record["artifacts"] == reported
        found = site.repo.status("orgs/acme/tasks/fix/artifacts/report.json")
        assert found == {"answer": 42}


async def test_a_lost_cluster_is_filled_again_without_what_is_over(
    site: Site, files: Files
) -> None:
    """I7: a new, empty cluster under the same name gets only what is not finished."""
    org, task = files
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace),
            "tasks/acme/over.yaml": task("over"),
            "tasks/acme/live.yaml": task("live"),
        }
    )
    async with site.run():
        await site.until_task("over", bool)
        await site.report("over")
        await site.until_record("over", lambda record: record.get("result"))
        await site.until_record("live", bool)
    for name in ("over", "live"):
        await site.client.patch(AGENT_TASKS, name, {"metadata": {"finalizers": None}})
        await site.client.delete(AGENT_TASKS, name)
    await site.client.delete(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
    async with site.run():
        await site.until_task("live", bool)
        await site.until_org(lambda org: org.get("counts", {}).get("tasks") == 2)
        assert await site.names() == {"live"}
