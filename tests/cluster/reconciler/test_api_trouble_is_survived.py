"""An API server that answers 429, 500, 409 or 410 is reported, and recovers by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from guildnet.kube import AGENT_TASKS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]
Tree = Mapping[str, str | None]


def some(method: str, status: int, count: int) -> Callable[[str, str], int | None]:
    """Refuses the first `count` requests of a method about AgentTasks."""
    left = [status] * count
    return lambda verb, path: (
        left.pop() if left and verb == method and "/agenttasks" in path else None
    )


@pytest.mark.parametrize("status", [409, 429, 500])
async def test_deletions_that_were_refused_are_made_after_all(
    site: Site, acme: Tree, status: int
) -> None:
    """I4: `applied` means that nothing is left to do."""
    site.repo.commit(acme)
    async with site.behind_a_proxy() as proxy, site.run():
        await site.until_record("live", bool)
        proxy.judge = some("DELETE", status, 2)
        tip = site.repo.commit({"tasks/acme/live.yaml": None})
        await site.until_org(lambda org: org.get("applied") == tip)
        assert await site.names() == {"over"}


async def test_a_server_that_only_says_500_is_told(site: Site, files: Files, acme: Tree) -> None:
    """I10: its Lease is renewed, so it is not an outage; the record names what fails."""
    site.repo.commit(acme)
    async with site.behind_a_proxy() as proxy, site.run():
        await site.until_record("live", bool)
        proxy.judge = some("PATCH", 500, 1_000_000)
        site.repo.commit({"tasks/acme/new.yaml": files[1]("new")})
        found = await site.until_org(lambda org: org.get("faults"))
        assert "a test answers 500" in found["faults"][0]["message"]
        assert found["cluster"]["reachable"] is True
        proxy.judge = None
        await site.until_task("new", bool)
        await site.until_org(lambda org: not org.get("faults"))


async def test_a_watch_that_expires_lists_anew(site: Site, files: Files, acme: Tree) -> None:
    """I6: a run that ended while the watch was interrupted is recorded."""
    site.repo.commit(acme)
    async with site.behind_a_proxy() as proxy:

        def cut(verb: str, path: str) -> int | None:
            return 410 if verb == "GET" and "/agenttasks?watch" in path else None

        proxy.judge = cut
        async with site.run():
            await site.until_task("over", bool)
            await site.report("over")
            await site.until_record("over", lambda record: record.get("result"))
            assert await site.client.get(AGENT_TASKS, "over")
