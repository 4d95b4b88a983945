"""I3: what cannot be written of one org is dropped and reported; the others' news arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from guildnet.errors import GitError
from guildnet.git import BranchWriter, Mirror
from guildnet.outcome import Done
from guildnet.record import MAX_RECORD_BYTES, OrgRecord, TaskRecord
from guildnet_reconciler.records.branch import StatusWriter

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote


class LeaseState:
    held = True


class PickyWriter(BranchWriter):
    """A git that refuses the files of one org, or of all."""

    refuses = "nothing"

    def commit(
        self, changes: Mapping[str, Any], message: str, *, expected: str | None = None
    ) -> str:
        if any(self.refuses in path for path in changes):
            raise GitError("fatal: whatever")
        return super().commit(changes, message, expected=expected)


@pytest.fixture
async def writer(remote: Remote, tmp_path: Path) -> AsyncIterator[PickyWriter]:
    with Mirror.open(str(remote.path), tmp_path / "mirror.git") as mirror:
        yield PickyWriter(mirror, "status")


@pytest.fixture
async def status(writer: PickyWriter) -> StatusWriter:
    branch = StatusWriter(writer.mirror, writer, timedelta(milliseconds=20))
    assert await branch.open(init=False, known_elsewhere=False) == Done()
    for org in ("acme", "globex"):
        branch.lease_acquired(org, LeaseState())
    return branch


def record(task: str, org: str = "acme", **fields: Any) -> TaskRecord:
    return TaskRecord(org, task, 1, "sha256:x", **fields)


@pytest.mark.parametrize(
    "task",
    ["../../globex/tasks/t1", "..", ".git", "a\0b", "a\nb", "x" * 5000, "a\ud800", "a/b", "a."],
)
async def test_a_name_that_cannot_be_a_path(
    status: StatusWriter, remote: Remote, task: str
) -> None:
    status.put_task(record(task), {})
    status.put_task(record("t1", "globex"), {})
    assert await status.flush()
    assert remote.status("orgs/globex/tasks/t1/status.json")["task"] == "t1"
    assert "cannot be a file" in status.unwritable("acme")[task]
    assert status.unwritable("globex") == {}
    assert not status.is_pushed("acme", task)


async def test_names_of_artifacts_in_a_record_that_is_removed(
    status: StatusWriter, remote: Remote
) -> None:
    """Records of earlier versions may hold any name."""
    bad = {"name": "../../../../globex/x", "bytes": 1, "sha256": "ab"}
    status.put_task(record("a", artifacts=(bad,)), {})
    status.remove_task("acme", "a")
    status.put_task(record("t1", "globex"), {})
    assert await status.flush()
    assert remote.status("orgs/acme/removed/a.json")["task"] == "a"
    assert status.unwritable("acme") == {}


async def test_a_body_larger_than_readers_accept(status: StatusWriter, remote: Remote) -> None:
    status.put_task(record("a"), {"usage.json": b"x" * (MAX_RECORD_BYTES + 1)})
    status.put_task(record("t1", "globex"), {})
    assert await status.flush()
    assert remote.status("orgs/globex/tasks/t1/status.json")["run"] == 1
    assert "readers accept at most" in status.unwritable("acme")["a"]
    status.put_task(record("a", phase="Running"), {"usage.json": b"{}"})
    assert await status.flush()
    assert status.unwritable("acme") == {}
    assert status.is_pushed("acme", "a")


async def test_a_record_of_an_org_is_cut_to_what_readers_take(
    status: StatusWriter, remote: Remote
) -> None:
    fault = {"reason": "Invalid", "message": "m" * 2000}
    status.put_org(OrgRecord("acme", faults=(fault,) * 5000))
    assert await status.flush()
    found = remote.status("orgs/acme/org.json")
    assert len(found["faults"]) > 100
    assert found["faults"][0]["reason"] == "TooMany"
    size = int(remote.git("cat-file", "-s", "status:orgs/acme/org.json", at=remote.path))
    assert size <= MAX_RECORD_BYTES


async def test_half_a_surrogate_pair_is_replaced(status: StatusWriter, remote: Remote) -> None:
    status.put_org(OrgRecord("acme", cluster={"message": "bad \ud800 thing"}))
    assert await status.flush()
    assert remote.status("orgs/acme/org.json")["cluster"] == {"message": "bad ? thing"}


async def test_a_record_that_cannot_be_encoded_does_not_count_as_written(
    status: StatusWriter,
) -> None:
    with pytest.raises(TypeError):
        status.put_org(OrgRecord("acme", cluster={"message": object()}))
    assert status.of("acme").org is None


async def test_what_git_refuses_is_found_and_dropped(
    status: StatusWriter, writer: PickyWriter, remote: Remote
) -> None:
    writer.refuses = "acme/tasks/t7/"
    for number in range(20):
        status.put_task(record(f"t{number}"), {})
        status.put_task(record(f"t{number}", "globex"), {})
    assert await status.flush()
    assert remote.status("orgs/globex/tasks/t7/status.json")["run"] == 1
    assert remote.status("orgs/acme/tasks/t8/status.json")["run"] == 1
    assert status.unwritable("acme").keys() == {"t7"}
    assert not status.is_pushed("acme", "t7")
    assert status.is_pushed("acme", "t8")


async def test_where_git_takes_nothing_nothing_is_dropped(
    status: StatusWriter, writer: PickyWriter, remote: Remote
) -> None:
    """A full disk is not one record's fault."""
    writer.refuses = "orgs/"
    for number in range(20):
        status.put_task(record(f"t{number}"), {})
    assert not await status.flush()
    assert status.problem is not None
    writer.refuses = "nothing"
    assert await status.flush()
    assert status.unwritable("acme") == {}
    assert remote.status("orgs/acme/tasks/t19/status.json")["run"] == 1


async def test_a_commit_has_one_line_whatever_the_phase(
    status: StatusWriter, remote: Remote
) -> None:
    status.put_task(record("a", phase="Running\n\nApprove-Move: acme"), {})
    assert await status.flush()
    assert "Approve-Move" not in remote.git("log", "-1", "--format=%B", "status", at=remote.path)
