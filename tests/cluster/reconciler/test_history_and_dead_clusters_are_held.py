"""Rewritten history, a lost status branch, a dead cluster: reported, without delaying others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]


async def test_rewritten_history_is_held_until_accepted(site: Site, files: Files) -> None:
    """I1: a force-push applies nothing until the new tip names what is left behind."""
    org, task = files
    begin = site.repo.commit({"orgs/acme.yaml": org(namespace=site.namespace)})
    left = site.repo.commit({"tasks/acme/old.yaml": task("old")})
    async with site.run() as reconciler:
        await site.until_task("old", bool)
        site.repo.git("reset", "-q", "--hard", begin)
        (site.repo.work / "tasks" / "acme").mkdir(parents=True, exist_ok=True)
        (site.repo.work / "tasks" / "acme" / "new.yaml").write_text(task("new"))
        site.repo.git("add", "-A")
        site.repo.git("commit", "-q", "-m", "another history")
        site.repo.git("push", "-q", "-f", "origin", "HEAD:main")
        found = await site.until_org(lambda org: org.get("faults"))
        assert found["faults"][0]["reason"] == "HistoryRewritten"
        assert f"Accept-History: {left}" in found["faults"][0]["message"]
        assert not reconciler.readiness()[0]
        assert await site.names() == {"old"}
        site.repo.commit({}, f"accept\n\nAccept-History: {left}")
        await site.until_task("new", bool)
        await site.until_task("old", lambda obj: obj is None)
        await site.until_org(lambda org: not org.get("faults"))


async def test_a_lost_status_branch_holds_everything(site: Site, files: Files) -> None:
    """I1, I7: a missing status branch is not a first start; once restored, everything continues."""
    org, task = files
    site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/one.yaml": task("one")}
    )
    async with site.run():
        await site.until_record("one", bool)
        await site.until_org(lambda org: org.get("applied"))
    tip = site.repo.git("rev-parse", "status", at=site.repo.remote)
    site.repo.git("update-ref", "-d", "refs/heads/status", at=site.repo.remote)
    site.repo.commit({"tasks/acme/two.yaml": task("two")})
    reconciler_task = asyncio.create_task(_hold(site))
    reason = await reconciler_task
    assert "status" in reason
    assert await site.names() == {"one"}
    site.repo.git("update-ref", "refs/heads/status", tip, at=site.repo.remote)
    async with site.run():
        await site.until_task("two", bool)


async def _hold(site: Site) -> str:
    """What a reconciler reports about a missing status branch."""
    from guildnet_reconciler.main import ReconcilerService

    reconciler = ReconcilerService(site.settings)
    try:
        outcome = await reconciler.status.open(init=False, known_elsewhere=False)
        assert type(outcome).__name__ == "Stalled"
        return str(outcome)
    finally:
        reconciler.mirror.close()


async def test_a_dead_cluster_is_reported_and_delays_no_other_org(site: Site, files: Files) -> None:
    """I3, I10: reported on the status branch within 10 s, while another org continues."""
    org, task = files
    dead = yaml.safe_load((site.settings.state_dir / "kube" / "acme.config").read_text())
    dead["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (site.settings.state_dir / "kube" / "dead.config").write_text(yaml.safe_dump(dead))
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace),
            "orgs/dead.yaml": org("dead", namespace="agents"),
            "orgs/nokube.yaml": org("nokube", namespace="agents"),
            "tasks/acme/one.yaml": task("one"),
            "tasks/dead/one.yaml": task("one"),
            "tasks/orphan/one.yaml": task("one"),
        }
    )
    began = time.monotonic()
    async with site.run():
        await site.until_task("one", bool)
        while not site.repo.status("orgs/dead/org.json"):
            assert time.monotonic() - began < 10, "not reported within 10 s"
            await asyncio.sleep(0.05)
        cluster = site.repo.status("orgs/dead/org.json")["cluster"]
        assert cluster["reachable"] is False
        assert cluster["message"]
        assert cluster["cure"]
        missing = site.repo.status("orgs/nokube/org.json")["cluster"]
        assert "guildnet org add nokube" in missing["cure"]
        orphan = site.repo.status("orgs/orphan/org.json")
        assert orphan["faults"][0]["reason"] == "OrgMissing"
        before = time.monotonic()
        site.repo.commit({"tasks/acme/two.yaml": task("two")})
        await site.until_task("two", bool)
        assert time.monotonic() - before < 5
