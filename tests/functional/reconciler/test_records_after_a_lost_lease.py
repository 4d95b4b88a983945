"""Two replicas and a forge that was away: who lost the Lease never writes over who has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.git import BranchWriter, Mirror
from guildnet.outcome import Done
from guildnet.record import OrgRecord, TaskRecord
from guildnet_reconciler.records.branch import StatusWriter

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

Pair = tuple[StatusWriter, StatusWriter]


def record(task: str, phase: str, *, result: str | None = None, org: str = "acme") -> TaskRecord:
    return TaskRecord(org, task, 1, "sha256:x", result=result, phase=phase)


@dataclass
class LeaseState:
    """A Lease. A process that was paused has lost its Lease and does not know it."""

    held: bool = True


def at(remote: Remote, task: str, org: str = "acme") -> object:
    return remote.status(f"orgs/{org}/tasks/{task}/status.json").get("result")


@pytest.fixture
async def replicas(remote: Remote, tmp_path: Path) -> AsyncIterator[Pair]:
    """Two of them; the first holds acme's Lease and has recorded task `a`."""
    mirrors = [Mirror.open(str(remote.path), tmp_path / f"{n}.git") for n in "12"]
    one, two = (
        StatusWriter(mirror, BranchWriter(mirror, "status"), timedelta(milliseconds=20))
        for mirror in mirrors
    )
    assert await one.open(init=False, known_elsewhere=False) == Done()
    one.lease_acquired("acme", LeaseState())
    one.put_task(record("a", "Pending"), {})
    assert await one.flush()
    assert await two.open(init=False, known_elsewhere=False) == Done()
    yield one, two
    for mirror in mirrors:
        mirror.close()


async def take_over(two: StatusWriter) -> None:
    await two.refresh("acme")
    two.lease_acquired("acme", LeaseState())
    two.put_task(record("a", "Finished", result="TaskSucceeded"), {})
    assert await two.flush()


async def test_commits_that_waited_yield_to_the_next_holder(remote: Remote, replicas: Pair) -> None:
    """I6, I7: a finished run stays finished; records that no other process wrote are pushed."""
    one, two = replicas
    one.lease_acquired("globex", LeaseState())
    away = remote.path.rename(remote.path.with_suffix(".away"))
    one.put_task(record("a", "Running"), {})
    one.put_task(record("b", "Running"), {})
    one.put_task(record("g", "Running", result="TaskFailed", org="globex"), {})
    assert not await one.flush()
    one.lease_lost("acme")
    away.rename(remote.path)
    await take_over(two)
    assert await one.flush()
    assert at(remote, "a") == "TaskSucceeded"
    assert at(remote, "g", "globex") == "TaskFailed"
    await one.refresh("acme")
    assert one.of("acme").recorded["a"].result == "TaskSucceeded"


async def test_what_was_not_committed_yet_is_parked(remote: Remote, replicas: Pair) -> None:
    """I6: they are written later if no other process held the Lease meanwhile."""
    one, two = replicas
    one.put_task(record("a", "Running"), {})
    one.lease_lost("acme")
    one.put_task(record("a", "Stopping"), {})
    one.put_org(OrgRecord("acme", cluster={"reachable": False}))
    assert await one.flush()
    assert remote.status("orgs/acme/org.json")["cluster"] == {"reachable": False}
    assert remote.status("orgs/acme/tasks/a/status.json")["phase"] == "Pending"
    one.lease_acquired("acme", LeaseState())
    assert await one.flush()
    assert remote.status("orgs/acme/tasks/a/status.json")["phase"] == "Stopping"

    one.put_task(record("a", "Running"), {})
    one.lease_lost("acme")
    await take_over(two)
    await one.refresh("acme")
    one.lease_acquired("acme", LeaseState())
    assert await one.flush()
    assert at(remote, "a") == "TaskSucceeded"


async def test_what_a_crash_left_yields_too(remote: Remote, replicas: Pair, tmp_path: Path) -> None:
    """I6: a restarted process holds no Lease yet."""
    one, two = replicas
    away = remote.path.rename(remote.path.with_suffix(".away"))
    one.put_task(record("a", "Running"), {})
    assert not await one.flush()
    away.rename(remote.path)
    await take_over(two)
    with Mirror.open(str(remote.path), tmp_path / "1.git") as mirror:
        again = StatusWriter(mirror, BranchWriter(mirror, "status"), timedelta(milliseconds=20))
        assert await again.open(init=False, known_elsewhere=False) == Done()
        assert again.of("acme").recorded["a"].result == "TaskSucceeded"
        assert await again.flush()
    assert at(remote, "a") == "TaskSucceeded"


async def test_a_paused_process_yields_before_it_knows(remote: Remote, replicas: Pair) -> None:
    """I6, I7: its push continues before it knows that its Lease is lost."""
    one, two = replicas
    seat = LeaseState()
    one.lease_acquired("acme", seat)
    one.put_task(record("a", "Running"), {})
    await take_over(two)
    seat.held = False
    assert await one.flush()
    assert at(remote, "a") == "TaskSucceeded"
