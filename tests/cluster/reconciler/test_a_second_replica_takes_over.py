"""Two reconcilers of one repository: one works on the org, the other takes over when it ends."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from guildnet.git import Identity

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

    from guildnet_reconciler.main import ReconcilerService

Files = tuple[Callable[..., str], Callable[..., str]]


def writers(site: Site) -> set[str]:
    """The committers of the org's folder."""
    log = site.repo.git("log", "--format=%an", "status", "--", "orgs/acme", at=site.repo.remote)
    return set(log.splitlines())


async def until_waiting(reconciler: ReconcilerService) -> None:
    async with asyncio.timeout(20):
        while "LeaseHeld" not in reconciler.scheduler.summary().get("acme", ""):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_one_that_waits_writes_nothing_and_then_knows_everything(
    site: Site, files: Files, tmp_path: Path
) -> None:
    """I6, I7: no record is written by two; a run that the first recorded as finished stays so,
    and the second records what the cluster reported meanwhile."""
    org, task = files
    other = tmp_path / "other"
    shutil.copytree(site.settings.state_dir / "kube", other / "kube")
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace),
            "tasks/acme/one.yaml": task("one"),
            "tasks/acme/two.yaml": task("two"),
        }
    )
    first = site.run(holder="first", identity=Identity("first"))
    second = site.run(holder="second", identity=Identity("second"), state_dir=other)
    async with AsyncExitStack() as both:
        async with first:
            await site.until_task("one", bool)
            waiting = await both.enter_async_context(second)
            await until_waiting(waiting)
            await site.report("one")
            await site.until_record("one", lambda record: record.get("result"))
            await site.until_org(lambda org: org.get("applied"))
            assert writers(site) == {"first"}
        await site.report("two")
        await site.until_record("two", lambda record: record.get("result"))
        site.repo.commit({"tasks/acme/three.yaml": task("three")})
        await site.until_record("three", lambda record: record.get("run") == 1)
        record = site.repo.status("orgs/acme/tasks/one/status.json")
        assert (record["run"], record["result"]) == (1, "TaskSucceeded")
        assert writers(site) == {"first", "second"}
