"""What a process knew when it ended is found again by the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from guildnet.errors import KubeNotFound
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]
Tree = Mapping[str, str | None]


async def strip_and_delete(site: Site, name: str) -> None:
    """As with a lost cluster: the AgentTask is gone, whatever it waited for."""
    # In this order: a reconciler that runs adds a missing finalizer again, but not to an object
    # that is being deleted.
    await site.client.delete(AGENT_TASKS, name)
    with suppress(KubeNotFound):
        await site.client.patch(AGENT_TASKS, name, {"metadata": {"finalizers": None}})


async def test_the_last_good_version_is_in_force_though_its_object_is_gone(
    site: Site, acme: Tree
) -> None:
    """I1: a quarantined task is created again if its AgentTask was deleted meanwhile."""
    site.repo.commit(acme)
    async with site.run():
        await site.until_record("live", bool)
        site.repo.commit({"tasks/acme/live.yaml": "kind: [Task\n"})
        await site.until_org(lambda org: org.get("quarantined"))
    await strip_and_delete(site, "live")
    async with site.run():
        again = await site.until_task("live", bool)
        assert (again["spec"]["prompt"], again["spec"]["run"]) == ("do it", 1)
        (entry,) = (await site.until_org(lambda org: org.get("quarantined")))["quarantined"]
        assert entry["lastGoodBlob"]


async def test_an_org_file_that_turned_bad_meanwhile_is_in_force_as_it_was(
    site: Site, files: Files, acme: Tree
) -> None:
    """I1: neither memory nor a record names a last good blob; git has it."""
    _, task = files
    site.repo.commit(acme)
    async with site.run():
        await site.until_org(lambda org: org.get("applied"))
    site.repo.commit({"orgs/acme.yaml": "kind: [Org\n", "tasks/acme/new.yaml": task("new")})
    async with site.run():
        await site.until_task("new", bool)
        assert (await site.until_org(lambda org: org.get("quarantined")))["quarantined"]


async def test_a_vanished_orgs_agents_keep_its_settings(
    site: Site, files: Files, acme: Tree
) -> None:
    """I1: the operator keeps the limits and egress that the org had."""
    org, _ = files
    more = "limits: {maxActive: 3}\n"
    site.repo.commit({**acme, "orgs/acme.yaml": org(namespace=site.namespace, more=more)})
    async with site.run():
        await site.until_org(lambda org: org.get("applied"))
    site.repo.commit({"orgs/acme.yaml": None})
    async with site.run():
        await site.until_org(lambda org: org["counts"]["held"] == 2)
        claim = await site.client.get(CONFIG_MAPS, "guildnet-org")
        assert '"maxActive":3' in claim["data"]["settings"]


async def test_a_release_holds_until_all_of_it_is_gone(
    site: Site, files: Files, acme: Tree
) -> None:
    """I1: an approved deletion needs no second approval after a restart."""
    _, task = files
    names = [f"t{number}" for number in range(7)]
    site.repo.commit({**acme, **{f"tasks/acme/{name}.yaml": task(name) for name in names}})
    async with site.run():
        await site.until_org(lambda org: org.get("counts", {}).get("tasks") == 9)
        for name in names:
            await site.begin(name)
        gone = {f"tasks/acme/{name}.yaml": None for name in names}
        approved = site.repo.commit(gone, "clean up\n\nApprove-Deletions: acme")
        for name in names:
            await site.until_task(name, lambda obj: obj and "deletionTimestamp" in obj["metadata"])
        found = await site.until_org(lambda org: org.get("attempted") == approved)
        assert found["applied"] != approved
    for name in names:
        await site.client.patch(AGENT_TASKS, name, {"metadata": {"finalizers": None}})
    async with site.run():
        for name in names:
            await site.until_status(f"removed/{name}.json", bool)
        await site.until_org(lambda org: org.get("applied") == approved)


async def test_an_accepted_history_stays_accepted(site: Site, files: Files, acme: Tree) -> None:
    """I1: also for an org that nothing of it was about, and when the tip has moved on."""
    _, task = files
    begin = site.repo.commit({"README.md": "hello"})
    site.repo.commit(acme)
    left = site.repo.commit({"README.md": "left behind"})
    async with site.run():
        await site.until_org(lambda org: org.get("applied"))
    site.repo.git("reset", "-q", "--hard", begin)
    for path, content in acme.items():
        (site.repo.work / path).parent.mkdir(parents=True, exist_ok=True)
        (site.repo.work / path).write_text(content or "")
    site.repo.git("add", "-A")
    site.repo.git("commit", "-q", "-m", f"again\n\nAccept-History: {left}")
    site.repo.git("push", "-q", "-f", "origin", "HEAD:main")
    async with site.run():
        again = site.repo.git("rev-parse", "HEAD")
        await site.until_org(lambda org: org.get("applied") == again)
    async with site.run():
        tip = site.repo.commit({"tasks/acme/new.yaml": task("new")})
        await site.until_org(lambda org: org.get("applied") == tip)


async def test_a_held_tip_stops_neither_records_nor_what_was_followed(
    site: Site, files: Files, acme: Tree
) -> None:
    """I6, I10: a process that begins under rewritten history tells it in the org's record, records
    what ends, and puts drift right."""
    begin = site.repo.commit({"README.md": "hello"})
    site.repo.commit(acme)
    async with site.run():
        await site.until_record("live", bool)
    site.repo.git("reset", "-q", "--hard", begin)
    site.repo.git("commit", "-q", "--allow-empty", "-m", "another history")
    site.repo.git("push", "-q", "-f", "origin", "HEAD:main")
    async with site.run():
        found = await site.until_org(lambda org: org.get("faults"))
        assert found["faults"][0]["reason"] == "HistoryRewritten"
        await site.report("over")
        await site.until_record("over", lambda record: record.get("result"))
        await strip_and_delete(site, "live")
        await site.until_task("live", bool)


async def test_an_org_that_is_gone_is_no_fault(site: Site, acme: Tree) -> None:
    """I10: its tombstones do not report a missing file."""
    site.repo.commit(acme)
    async with site.run():
        await site.until_record("live", bool)
        gone = dict.fromkeys(acme)
        site.repo.commit(gone, "the end\n\nApprove-Deletions: acme")
        await site.until_status("removed/live.json", bool)
        await site.until_status("org.json", lambda org: not org)
    async with site.run() as reconciler:
        assert await reconciler.settle()
        assert site.repo.status("orgs/acme/org.json") is None
        assert site.repo.status("orgs/acme/removed/over.json")


async def test_a_bad_file_that_went_meanwhile_is_quarantined_no_more(
    site: Site, acme: Tree
) -> None:
    """I10: nothing else of that task was known, neither a record nor an AgentTask."""
    site.repo.commit({**acme, "tasks/acme/bad.yaml": "kind: [Task\n"})
    async with site.run():
        await site.until_org(lambda org: org.get("quarantined"))
    tip = site.repo.commit({"tasks/acme/bad.yaml": None})
    async with site.run():
        found = await site.until_org(lambda org: org.get("applied") == tip)
        assert not found.get("quarantined")
