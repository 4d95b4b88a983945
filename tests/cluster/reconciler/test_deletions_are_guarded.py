"""Deletions that look like an accident are held until a commit approves them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]
NAMES = [f"t{number}" for number in range(8)]


def everything(site: Site, files: Files) -> dict[str, str | None]:
    org, task = files
    return {
        "orgs/acme.yaml": org(namespace=site.namespace),
        **{f"tasks/acme/{name}.yaml": task(name) for name in NAMES},
    }


async def test_a_mass_deletion_is_held_and_released_by_its_trailer(
    site: Site, files: Files
) -> None:
    """I1: beyond the budget nothing is deleted, creates continue, and the trailer releases all."""
    _, task = files
    site.repo.commit(everything(site, files))
    async with site.run():
        await site.until_org(lambda org: org.get("counts", {}).get("tasks") == 8)
        gone = {f"tasks/acme/{name}.yaml": None for name in NAMES[:6]}
        site.repo.commit({**gone, "tasks/acme/new.yaml": task("new")})
        org = await site.until_org(lambda org: org["counts"]["held"] == 6)
        assert org["held"][0]["reason"] == "DeletionBudget"
        assert "Approve-Deletions: acme" in org["held"][0]["message"]
        await site.until_task("new", bool)
        assert set(NAMES) < await site.names()

        site.repo.commit({"orgs/acme/approvals.txt": "yes"}, "yes\n\nApprove-Deletions: acme")
        for name in NAMES[:6]:
            await site.until_task(name, lambda obj: obj is None)
        await site.until_org(lambda org: org["counts"]["held"] == 0)
        assert await site.names() == {*NAMES[6:], "new"}


async def test_held_deletions_stay_held_across_a_restart(site: Site, files: Files) -> None:
    """I1: the open set is found again from git and cluster; an approval from before the deletion
    never reaches forward to it."""
    site.repo.commit(everything(site, files), "begin\n\nApprove-Deletions: acme")
    async with site.run():
        await site.until_org(lambda org: org.get("counts", {}).get("tasks") == 8)
    site.repo.commit({f"tasks/acme/{name}.yaml": None for name in NAMES})
    for _ in range(2):
        async with site.run():
            org = await site.until_org(lambda org: org["counts"]["held"] == 8)
            assert org["held"][0]["reason"] == "AllTasksRemoved"
            assert await site.names() == set(NAMES)


async def test_a_vanished_org_file_deletes_nothing(site: Site, files: Files) -> None:
    """I1: held until the trailer approves it; then the org is removed with all its tasks."""
    site.repo.commit(everything(site, files))
    async with site.run():
        await site.until_org(lambda org: org.get("counts", {}).get("tasks") == 8)
        site.repo.commit({"orgs/acme.yaml": None, "tasks/acme/t0.yaml": None})
        org = await site.until_org(lambda org: org["counts"]["held"] == 8)
        assert org["held"][0]["reason"] == "OrgRemoved"
        assert await site.names() == set(NAMES)
        site.repo.commit({"orgs/acme/approvals.txt": "go"}, "go\n\nApprove-Deletions: acme")
        for name in NAMES:
            await site.until_task(name, lambda obj: obj is None)
