"""A second pass over the same state asks for nothing and writes nothing; drift is put right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from guildnet.kube import AGENT_TASKS, EVENTS

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

    from guildnet_reconciler.main import ReconcilerService

Files = tuple[Callable[..., str], Callable[..., str]]
WRITES = ("apply", "create", "patch", "replace", "delete")


def requests(reconciler: ReconcilerService) -> dict[str, float]:
    """Requests so far by verb, without those of the Lease, which has a separate client."""
    found: dict[str, float] = {}
    for metric in reconciler.metrics.api_requests.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                verb = sample.labels["verb"]
                found[verb] = found.get(verb, 0) + sample.value
    return found


def five(site: Site, files: Files) -> dict[str, str | None]:
    org, task = files
    return {
        "orgs/acme.yaml": org(namespace=site.namespace),
        **{f"tasks/acme/t{number}.yaml": task(f"t{number}") for number in range(5)},
    }


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def settled(site: Site, reconciler: ReconcilerService, revision: str) -> None:
    await site.until_org(lambda org: org.get("applied") == revision)
    await until(lambda: reconciler.scheduler.is_settled)
    await reconciler.status.flush()


async def test_a_second_pass_does_nothing(site: Site, files: Files) -> None:
    """I4: full pass and a commit that is about nothing of ours: no request, no status commit."""
    one = site.repo.commit(five(site, files))
    async with site.run() as reconciler:
        await settled(site, reconciler, one)
        before, tip = (
            requests(reconciler),
            site.repo.git("rev-parse", "status", at=site.repo.remote),
        )
        passes = reconciler.metrics.passes.labels("acme", "Done")
        reconciler.scheduler.resync("acme")
        seen = passes._value.get()
        readme = site.repo.commit({"README.md": "hello"})
        await until(lambda: passes._value.get() > seen)
        await until(lambda: reconciler.status.source_revision == readme)
        await settled(site, reconciler, one)
        assert requests(reconciler) == before
        assert site.repo.git("rev-parse", "status", at=site.repo.remote) == tip


async def test_a_restart_writes_nothing(site: Site, files: Files) -> None:
    """I4: what a new process finds in git and cluster is all it needs to know."""
    one = site.repo.commit(five(site, files))
    async with site.run() as reconciler:
        await settled(site, reconciler, one)
    tip = site.repo.git("rev-parse", "status", at=site.repo.remote)
    async with site.run() as reconciler:
        await until(lambda: "list" in requests(reconciler) and reconciler.scheduler.is_settled)
        await reconciler.status.flush()
        assert not set(requests(reconciler)) & set(WRITES)
    assert site.repo.git("rev-parse", "status", at=site.repo.remote) == tip


async def test_drift_is_put_right_and_told(site: Site, files: Files) -> None:
    """I10: an edit in the cluster is undone, and an Event names the field manager."""
    one = site.repo.commit(five(site, files))
    async with site.run() as reconciler:
        await settled(site, reconciler, one)
        await site.client.patch(
            AGENT_TASKS, "t1", {"spec": {"prompt": "mine"}}, field_manager="somebody-else"
        )
        await site.until_task("t1", lambda obj: obj["spec"]["prompt"] == "do it")

        async def reported() -> list[str]:
            events = await site.client.list_all(EVENTS)
            return [str(e.get("message", e.get("note"))) for e in events]

        words = "spec.prompt was changed by somebody-else; git wins"
        for _ in range(200):
            if words in await reported():
                break
            await asyncio.sleep(0.05)
        assert words in await reported()
