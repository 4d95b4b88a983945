"""Many orgs on one small API server: their first syncs do not overload it, and a change in one org
does not wait for the first syncs of the others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.functional.reconciler.crowded_api import CrowdedApi

from guildnet_reconciler.main import ReconcilerService

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet_reconciler.settings import Settings

ORGS = [f"org-{number:02d}" for number in range(12)]
TASKS = 40


def org_file(name: str) -> str:
    return (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\n"
        f"metadata: {{name: {name}}}\n"
        f"spec: {{cluster: {{kubeconfig: {name}, namespace: {name}}},"
        ' agent: {command: [sh, -c, "true"]}}\n'
    )


def task_file(name: str, prompt: str = "do it") -> str:
    return (
        "apiVersion: guildnet.io/v1alpha1\nkind: Task\n"
        f"metadata: {{name: {name}}}\nspec: {{prompt: {prompt}}}\n"
    )


def files_of(org: str, tasks: int = TASKS) -> dict[str, str]:
    names = [f"task-{number:02d}" for number in range(tasks)]
    return {
        f"orgs/{org}.yaml": org_file(org),
        **{f"tasks/{org}/{name}.yaml": task_file(name) for name in names},
    }


@pytest.fixture
def api() -> Iterator[CrowdedApi]:
    with CrowdedApi().running() as api:
        yield api


def grant(settings: Settings, api: CrowdedApi, orgs: list[str]) -> None:
    folder = settings.state_dir / "kube"
    folder.mkdir(parents=True, exist_ok=True)
    for org in orgs:
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": api.url}}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
        }
        (folder / f"{org}.config").write_text(json.dumps(config))


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ReconcilerService]:
    reconciler = ReconcilerService(settings)
    await reconciler.open_status()
    reconciler.start(triggers=False)
    try:
        yield reconciler
    finally:
        await reconciler.close()


async def until(holds: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def counted(reconciler: ReconcilerService, name: str, **labels: str) -> int:
    return int(
        sum(
            sample.value
            for metric in reconciler.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
    )


async def test_first_syncs_do_not_overload_the_server(
    remote: Remote, settings: Settings, api: CrowdedApi
) -> None:
    grant(settings, api, ORGS)
    remote.commit({path: text for org in ORGS for path, text in files_of(org).items()})
    async with running(settings) as reconciler:
        await until(lambda: api.count("agenttasks") == len(ORGS) * TASKS, 60)
        await until(lambda: reconciler.scheduler.is_settled, 20)
        assert counted(reconciler, "guildnet_api_requests_total", code="0") == 0
        assert counted(reconciler, "guildnet_leases_lost_total") == 0
        assert set(reconciler.scheduler.summary().values()) == {"ok"}
    assert api.most <= settings.in_flight + len(ORGS)
    assert len(api.applied) == len(set(api.applied))
    assert api.lists == len(ORGS)


async def test_a_change_in_a_quiet_org_passes_the_first_syncs_of_others(
    remote: Remote, settings: Settings, api: CrowdedApi
) -> None:
    grant(settings, api, [*ORGS, "quiet"])
    remote.commit(files_of("quiet", 2))
    async with running(replace(settings, in_flight=2)) as reconciler:
        await until(lambda: reconciler.scheduler.is_settled, 20)
        api.seconds_each, total = 0.008, len(ORGS) * 60
        remote.commit({path: text for org in ORGS for path, text in files_of(org, 60).items()})
        reconciler.scheduler.trigger()
        await until(lambda: len(api.applied) > 50, 30)
        remote.commit({"tasks/quiet/new.yaml": task_file("new")})
        reconciler.scheduler.trigger()
        await until(lambda: len(api.applied) > total, 60)
    new = [path.endswith("/quiet/agenttasks/new") for path in api.applied]
    assert new.index(True) < total * 3 / 4


async def test_a_server_that_asks_for_patience_gets_it(
    remote: Remote, settings: Settings, api: CrowdedApi
) -> None:
    """Retry-After is followed for the whole server; no pass fails for it."""
    grant(settings, api, ["quiet"])
    remote.commit(files_of("quiet", 5))
    api.refusals = 3
    began = time.monotonic()
    async with running(settings) as reconciler:
        await until(lambda: api.count("agenttasks") == 5, 30)
        assert time.monotonic() - began >= 1
        await until(lambda: reconciler.scheduler.is_settled, 20)
        assert reconciler.scheduler.summary() == {"quiet": "ok"}
        assert counted(reconciler, "guildnet_passes_total", outcome="Waiting") == 0


async def test_a_lease_lost_and_taken_again_does_not_list_again(
    remote: Remote, settings: Settings, api: CrowdedApi
) -> None:
    """What was reported meanwhile is recorded all the same (I6)."""
    grant(settings, api, ["quiet"])
    remote.commit(files_of("quiet", 2))
    async with running(settings) as reconciler:
        await until(lambda: reconciler.scheduler.summary() == {"quiet": "ok"}, 20)
        lists = api.lists
        api.lease_status = 500
        await until(lambda: counted(reconciler, "guildnet_leases_lost_total") == 1, 20)
        api.report("quiet", "task-00", {"run": 1, "phase": "Running"})
        await asyncio.sleep(0.2)
        record = reconciler.status.of("quiet").get("task-00")
        assert record is not None
        assert record.phase != "Running"
        api.lease_status = 200
        await until(lambda: phase_of(reconciler, "quiet", "task-00") == "Running", 20)
        assert api.lists == lists


def phase_of(reconciler: ReconcilerService, org: str, task: str) -> str | None:
    record = reconciler.status.of(org).get(task)
    return record.phase if record else None
