"""I3: no org takes, holds or releases the Lease of a namespace that another org has claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.functional.reconciler.stand_in import (
    StandIn,
    org_file,
    standing_in,
    store_kubeconfig,
    task_file,
    until,
)

from guildnet_reconciler.main import ReconcilerService

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet_reconciler.settings import Settings


@pytest.fixture
async def shared() -> AsyncIterator[StandIn]:
    """One cluster for both orgs; each org's kubeconfig may write to both namespaces."""
    async with standing_in("acme", "globex") as cluster:
        yield cluster


@asynccontextmanager
async def running(
    settings: Settings, shared: StandIn, **changes: object
) -> AsyncIterator[ReconcilerService]:
    quick = replace(
        settings,
        max_retry=timedelta(milliseconds=200),
        poll=timedelta(milliseconds=200),
        **changes,  # type: ignore[arg-type]
    )
    for name in ("acme", "globex"):
        store_kubeconfig(quick, name, shared.url)
    reconciler = ReconcilerService(quick)
    await reconciler.open_status()
    reconciler.start(triggers=False)
    try:
        yield reconciler
    finally:
        await reconciler.close()


def holder(shared: StandIn) -> str:
    lease = shared.object("leases", "guildnet-reconciler", "globex") or {}
    return str(lease.get("spec", {}).get("holderIdentity", ""))


@pytest.mark.parametrize("one_process", [True, False])
async def test_its_owner_works_on(
    remote: Remote, settings: Settings, shared: StandIn, tmp_path: Path, one_process: bool
) -> None:
    remote.commit({"orgs/globex.yaml": org_file("globex"), "tasks/globex/a.yaml": task_file("a")})
    other = settings if one_process else replace(settings, state_dir=tmp_path / "other", org="acme")
    mine = settings if one_process else replace(settings, org="globex")
    async with running(mine, shared):
        await until(lambda: "a" in shared.tasks("globex"))
        assert holder(shared).endswith("/globex")
    assert holder(shared) == ""
    remote.commit({"orgs/acme.yaml": org_file("acme", namespace="globex")}, "Approve-Move: acme")
    # acme comes first, while nobody holds the Lease.
    async with running(other, shared):
        if not one_process:
            await until(lambda: _fault(remote, "acme") == "NamespaceClaimed")
            assert holder(shared) == ""
        async with running(mine, shared) if not one_process else _nothing():
            remote.commit({"tasks/globex/b.yaml": task_file("b")})
            await until(lambda: "b" in shared.tasks("globex"))
            await until(lambda: _fault(remote, "acme") == "NamespaceClaimed")
            await until(lambda: holder(shared).endswith("/globex"))
            assert _fault(remote, "globex") is None
    writes = [line for line in shared.seen if "/namespaces/acme/" in line and "GET" not in line]
    assert writes == []


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


def _fault(remote: Remote, org: str) -> object:
    try:
        record = remote.status(f"orgs/{org}/org.json")
    except Exception:
        return "no record yet"
    return next((fault["reason"] for fault in record.get("faults", ())), None)


async def test_a_namespace_that_is_given_up_can_be_taken(
    remote: Remote, settings: Settings, shared: StandIn
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "guildnet-org"},
        "data": {"org": "initech", "stateRepository": "elsewhere", "statusRoot": "status"},
    }
    path = "/api/v1/namespaces/acme/configmaps/guildnet-org"
    shared.put(path, claim)
    remote.commit({"orgs/acme.yaml": org_file("acme"), "tasks/acme/a.yaml": task_file("a")})
    async with running(settings, shared) as reconciler:
        await until(lambda: _fault(remote, "acme") == "NamespaceClaimed")
        assert "initech" in reconciler.readiness()[1]["org/acme"]
        assert not any("/leases" in line for line in shared.seen)
        await asyncio.sleep(0)
        del shared.objects[path]
        await until(lambda: "a" in shared.tasks("acme"))
        await until(lambda: _fault(remote, "acme") is None)


def test_a_grant_is_for_the_namespaces_that_it_names(settings: Settings) -> None:
    granted = {"shared": frozenset({"acme:team-a", "acme:team-b", "globex"})}
    some = replace(settings, granted_kubeconfigs=granted)
    assert some.may_use("acme", "acme", "anything")
    assert some.may_use("acme", "shared", "team-b")
    assert not some.may_use("acme", "shared", "globex")
    assert some.may_use("globex", "shared", "anything")
    assert not some.may_use("initech", "shared", "team-a")
