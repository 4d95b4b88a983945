"""A new state directory, no status branch, and a cluster that cannot be asked about it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guildnet.kube import AGENT_TASKS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]


async def finish_and_lose_the_branch(site: Site, files: Files) -> str:
    """Task `one` is finished and its AgentTask gone; only the lost branch (its tip) has it."""
    org, task = files
    site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/one.yaml": task("one")}
    )
    async with site.run():
        await site.until_task("one", bool)
        await site.report("one")
        await site.until_record("one", lambda record: record.get("result"))
        await site.until_org(lambda org: org.get("applied"))
        await site.client.delete(AGENT_TASKS, "one")
        await site.until_task("one", lambda obj: obj is None)
    tip = site.repo.git("rev-parse", "status", at=site.repo.remote)
    site.repo.git("update-ref", "-d", "refs/heads/status", at=site.repo.remote)
    return tip


async def test_a_cluster_asked_late_holds_its_org_alone(
    site: Site, files: Files, tmp_path: Path
) -> None:
    """I3, I7, I10: the branch is created for the others; the finished run does not run again."""
    await finish_and_lose_the_branch(site, files)
    kubeconfig = site.settings.state_dir / "kube" / "acme.config"
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "kube").mkdir(parents=True)
    site.settings = replace(site.settings, state_dir=elsewhere)
    async with site.run():
        await site.until_org(lambda org: org.get("cluster", {}).get("reachable") is False)
    async with site.run():
        shutil.copy(kubeconfig, elsewhere / "kube" / "acme.config")
        held = await site.until_org(lambda org: org.get("faults"))
        (fault,) = held["faults"]
        assert fault["reason"] == "StatusBranchLost"
        assert "--init-status" in fault["message"]
        assert await site.names() == set()
    async with site.run(init_status=True):
        await site.until_task("one", bool)
        await site.until_org(lambda org: org.get("applied") and not org.get("faults"))


async def test_a_cluster_that_remembers_holds_the_branch(
    site: Site, files: Files, tmp_path: Path
) -> None:
    """I7: one that answers is enough to know that there was a branch."""
    await finish_and_lose_the_branch(site, files)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(site.settings.state_dir / "kube", elsewhere / "kube")
    site.settings = replace(site.settings, state_dir=elsewhere, once=True)
    async with site.run() as reconciler:
        is_ready, reported = reconciler.readiness()
        assert not is_ready
        assert reported["statusBranch"].startswith("StatusBranchLost")
        assert await site.names() == set()
