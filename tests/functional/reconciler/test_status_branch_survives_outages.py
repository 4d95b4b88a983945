"""The status branch: batches, no commit without news, kept through an outage, two writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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


class LeaseState:
    """A Lease that is held."""

    held = True


Open = Callable[[str], Awaitable[StatusWriter]]


@pytest.fixture
async def opened(remote: Remote, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the branch through a mirror of that name."""
    mirrors: list[Mirror] = []

    async def open_it(name: str) -> StatusWriter:
        mirror = Mirror.open(str(remote.path), tmp_path / name)
        mirrors.append(mirror)
        status = StatusWriter(mirror, BranchWriter(mirror, "status"), timedelta(milliseconds=20))
        assert await status.open(init=False, known_elsewhere=False) == Done()
        for org in ("acme", "globex"):
            status.lease_acquired(org, LeaseState())
        return status

    yield open_it
    for mirror in mirrors:
        mirror.close()


def record(task: str, run: int = 1, result: str | None = None) -> TaskRecord:
    return TaskRecord("acme", task, run, "sha256:x", result=result, phase="Running")


def subjects(remote: Remote) -> list[str]:
    return remote.git("log", "--format=%s", "status", at=remote.path).splitlines()


async def test_a_batch_is_one_commit_and_the_same_state_is_none(
    remote: Remote, opened: Open
) -> None:
    """I4, I6."""
    status = await opened("m.git")
    status.source_revision = "a" * 40
    for name in ("a", "b"):
        assert status.put_task(record(name), {"last_pr.json": b"{}\n"})
    assert await status.flush()
    assert not status.put_task(record("a"), {})
    assert await status.flush()
    assert status.put_task(record("a", result="TaskSucceeded"), {})
    assert await status.flush()
    assert status.put_org(OrgRecord("acme", counts={"tasks": 2}))
    assert await status.flush()
    assert subjects(remote)[:3] == [
        "status(acme): org",
        "status(acme): a Succeeded",
        "status: 2 tasks in 1 org",
    ]
    body = remote.git("log", "-1", "--format=%(trailers)", "status", at=remote.path)
    assert body == f"Source-Revision: {'a' * 40}"


async def test_what_is_put_in_an_outage_arrives_after_it_and_after_a_crash(
    remote: Remote, opened: Open
) -> None:
    """I6: commits wait on disk; nothing counts as recorded before it is on the remote."""
    status = await opened("m.git")
    status.put_task(record("a"), {})
    assert await status.flush()
    away = remote.path.rename(remote.path.with_suffix(".away"))
    status.put_task(record("a", result="TaskFailed"), {})
    assert not await status.flush()
    assert status.problem is not None
    assert not status.is_pushed("acme", "a")
    away.rename(remote.path)
    again = await opened("m.git")
    assert again.of("acme").recorded["a"].result == "TaskFailed"
    assert not again.is_pushed("acme", "a")
    assert await again.flush()
    assert again.is_pushed("acme", "a")
    assert remote.status("orgs/acme/tasks/a/status.json")["result"] == "TaskFailed"


async def test_two_writers_lose_nothing(remote: Remote, opened: Open) -> None:
    """I6: each touches its own org; a rejected push is replayed."""
    one, two = [await opened(f"{n}.git") for n in "12"]
    for number in range(5):
        one.put_task(record(f"t{number}"), {})
        two.put_task(TaskRecord("globex", f"t{number}", 1, "sha256:y"), {})
        assert all(await asyncio.gather(one.flush(), two.flush()))
    files = remote.git("ls-tree", "-r", "--name-only", "status", at=remote.path).splitlines()
    assert len([f for f in files if f.endswith("status.json")]) == 10


async def test_a_removed_task_leaves_its_tombstone(remote: Remote, opened: Open) -> None:
    """I7: run, digest and result live on; artifacts stay in history."""
    status = await opened("m.git")
    status.put_task(record("a", 3, "TaskSucceeded"), {"last_pr.json": b"{}\n"})
    assert await status.flush()
    status.remove_task("acme", "a")
    assert await status.flush()
    files = remote.git("ls-tree", "-r", "--name-only", "status", at=remote.path).splitlines()
    assert files == ["README.md", "orgs/acme/removed/a.json"]
    again = await opened("other.git")
    assert again.of("acme").removed["a"].run == 3


async def test_a_rewritten_branch_is_held_and_found_again(remote: Remote, opened: Open) -> None:
    """I6, I7: nothing is pushed over it; once it is restored, everything continues."""
    status = await opened("m.git")
    status.put_task(record("a"), {})
    assert await status.flush()
    tip = remote.git("rev-parse", "status", at=remote.path)
    root = remote.git("rev-list", "--max-parents=0", "status", at=remote.path)
    remote.git("update-ref", "refs/heads/status", root, at=remote.path)
    status.put_task(record("b"), {})
    assert not await status.flush()
    assert status.lost is not None
    assert status.lost.reason == "StatusBranchLost"
    assert remote.git("rev-parse", "status", at=remote.path) == root
    remote.git("update-ref", "refs/heads/status", tip, at=remote.path)
    await status.check(tip)
    assert status.lost is None
    assert await status.flush()
    assert remote.status("orgs/acme/tasks/b/status.json")["run"] == 1


async def test_an_unreadable_record_is_not_guessed(remote: Remote, opened: Open) -> None:
    """I1, I7."""
    status = await opened("m.git")
    status.put_task(record("a"), {})
    assert await status.flush()
    remote.git("fetch", "-q", "origin", "status:status")
    remote.git("checkout", "-q", "status")
    (remote.work / "orgs/acme/tasks/a/status.json").write_text("{}")
    remote.git("commit", "-qam", "broken")
    remote.git("push", "-q", "origin", "status")
    again = await opened("other.git")
    assert again.of("acme").unreadable == {"a"}
