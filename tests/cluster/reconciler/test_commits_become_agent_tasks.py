"""A commit becomes an AgentTask, an edit its next run, a deletion is pruned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from guildnet import labels

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Eventually = Callable[..., Awaitable[Any]]
Files = tuple[Callable[..., str], Callable[..., str]]


async def test_the_life_of_a_task(site: Site, eventually: Eventually, files: Files) -> None:
    """I2, I6, I7: created, recorded, edited into run 2, pruned, its numbering kept."""
    org, task = files
    one = site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/fix.yaml": task("fix")}
    )
    async with site.run():
        obj = await eventually(lambda: site.task("fix"))
        assert obj["spec"]["run"] == 1
        assert obj["metadata"]["annotations"][labels.SOURCE_REVISION] == one
        assert obj["metadata"]["finalizers"] == [labels.RECORDED_FINALIZER]

        async def recorded() -> bool:
            return (await site.record("fix")).get("run") == 1

        await eventually(recorded)
        claim = await site.client.get(_config_maps(), labels.ORG_CONFIG_MAP)
        assert claim["data"]["org"] == "acme"

        async def applied() -> bool:
            return (await site.org()).get("applied") == one

        await eventually(applied)

        site.repo.commit({"tasks/acme/fix.yaml": task("fix", "do something else")})

        async def second() -> bool:
            found = await site.task("fix")
            return found is not None and found["spec"]["run"] == 2

        await eventually(second)

        async def two() -> bool:
            return (await site.record("fix")).get("run") == 2

        await eventually(two)
        site.repo.commit({"tasks/acme/fix.yaml": None})

        async def gone() -> bool:
            return await site.task("fix") is None

        await eventually(gone)

        async def removed() -> bool:
            return site.repo.status("orgs/acme/removed/fix.json") is not None

        await eventually(removed)
        assert site.repo.status("orgs/acme/removed/fix.json")["run"] == 2
        assert await site.record("fix") == {}


def _config_maps() -> Any:
    from guildnet.kube import CONFIG_MAPS

    return CONFIG_MAPS
