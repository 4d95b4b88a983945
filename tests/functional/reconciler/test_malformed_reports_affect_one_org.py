"""I3, I10: malformed answers of one org's API server appear in that org's record only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.functional.reconciler.stand_in import (
    StandIn,
    answer,
    org_file,
    refusal,
    standing_in,
    store_kubeconfig,
    task_file,
    until,
)

from guildnet_reconciler.main import ReconcilerService

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet_reconciler.settings import Settings

LIES: list[Callable[[], web.Response]] = [
    lambda: answer({}),
    lambda: answer({"metadata": {}, "items": []}),
    lambda: answer(b"<html>log in</html>"),
    lambda: answer(b'{"a":' * 600 + b"1" + b"}" * 600),
    lambda: answer({"metadata": {"resourceVersion": "1", "continue": "again"}, "items": []}),
    lambda: refusal(422, "Invalid", "bad \ud800 thing"),
]
TASKS = "/apis/guildnet.io/v1alpha1/namespaces/acme/agenttasks"


@asynccontextmanager
async def two_orgs(
    remote: Remote, settings: Settings
) -> AsyncIterator[tuple[StandIn, StandIn, ReconcilerService]]:
    async with standing_in("acme") as acme, standing_in("globex") as globex:
        for name, cluster in (("acme", acme), ("globex", globex)):
            store_kubeconfig(settings, name, cluster.url)
            remote.commit(
                {f"orgs/{name}.yaml": org_file(name), f"tasks/{name}/a.yaml": task_file("a")}
            )
        quick = replace(settings, max_retry=timedelta(milliseconds=200))
        reconciler = ReconcilerService(quick)
        await reconciler.open_status()
        reconciler.start(triggers=True)
        try:
            yield acme, globex, reconciler
        finally:
            await reconciler.close()


def recorded(remote: Remote, path: str) -> Any:
    try:
        return remote.status(path)
    except Exception:
        return {}


def of_acme(remote: Remote, field: str) -> Any:
    """A field of acme's record; an empty one where it has none yet."""
    return recorded(remote, "orgs/acme/org.json").get(field) or {}


async def news_of_globex(remote: Remote, globex: StandIn, word: str) -> None:
    """What its cluster reports now reaches the status branch."""
    await until(lambda: "a" in globex.tasks("globex"))
    globex.report("globex", "a", {"run": 1, "phase": word})
    path = "orgs/globex/tasks/a/status.json"
    await until(lambda: recorded(remote, path).get("phase") == word)


@pytest.mark.parametrize(
    "name", ["../../globex/tasks/t1", "..", ".git", "a\0b", "x" * 300, "a\ud800b", "A b"]
)
async def test_names_that_are_paths(remote: Remote, settings: Settings, name: str) -> None:
    async with two_orgs(remote, settings) as (acme, globex, _):
        await until(lambda: "a" in acme.tasks("acme"))
        bad = {**acme.tasks("acme")["a"]}
        bad["metadata"] = {**bad["metadata"], "name": name}
        acme.put(f"{TASKS}/bad", {**bad, "status": {"run": 1, "phase": "Running"}})
        await until(
            lambda: any(fault["reason"] == "NotUnderstood" for fault in of_acme(remote, "faults"))
        )
        await news_of_globex(remote, globex, "Running")
        assert recorded(remote, "orgs/globex/org.json").get("faults") is None
        acme.report("acme", "a", {"run": 1, "phase": "Preparing"})
        path = "orgs/acme/tasks/a/status.json"
        await until(lambda: recorded(remote, path).get("phase") == "Preparing")


async def test_artifacts_that_are_paths_of_a_task_that_is_removed(
    remote: Remote, settings: Settings
) -> None:
    async with two_orgs(remote, settings) as (acme, globex, _):
        await until(lambda: "a" in acme.tasks("acme"))
        artifact = {"name": "../../../../globex/x", "bytes": 1, "sha256": "ab"}
        acme.report("acme", "a", {"run": 1, "phase": "Running", "artifacts": [artifact]})
        await until(lambda: "status.artifacts" in str(of_acme(remote, "faults")))
        (remote.work / "tasks/acme/a.yaml").unlink()
        remote.commit({}, "remove it")
        await news_of_globex(remote, globex, "Running")


@pytest.mark.parametrize("lie", LIES)
async def test_a_list_that_is_not_one(
    remote: Remote, settings: Settings, lie: Callable[[], web.Response]
) -> None:
    """It is named as such; the cluster does not count as reachable, nor as another's."""
    async with two_orgs(remote, settings) as (acme, globex, reconciler):

        def lying(request: web.Request) -> web.StreamResponse | None:
            return lie() if request.path == TASKS and request.method == "GET" else None

        acme.lie = lying
        await until(lambda: "cluster" in recorded(remote, "orgs/acme/org.json"))
        await until(lambda: of_acme(remote, "cluster").get("reachable") is False)
        assert "agenttasks" in of_acme(remote, "cluster")["message"]
        assert "another reconciler" not in str(reconciler.readiness())
        await news_of_globex(remote, globex, "Running")
        acme.lie = lambda _: None
        await until(lambda: of_acme(remote, "cluster").get("reachable") is True, 40)
