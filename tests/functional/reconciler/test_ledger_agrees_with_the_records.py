"""I6: the ledger of an org equals what its records hold, whatever happens to their writers."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from guildnet.git import BranchWriter, Mirror
from guildnet.outcome import Done
from guildnet.record import Amounts, TaskRecord, usage_path
from guildnet_reconciler.records.branch import StatusWriter

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote


@dataclass
class Lease:
    held: bool = True


def record(task: str, used: int, *, run: int = 1, org: str = "acme") -> TaskRecord:
    usage = {"requests": used, "inputTokens": used, "outputTokens": 0, "costUsd": used / 10}
    return TaskRecord(
        org, task, run, f"sha256:{run}", attempt=1, start=1, usage=usage if used else None
    )


@contextmanager
def writer_of(remote: Path, folder: Path) -> Iterator[StatusWriter]:
    with Mirror.open(str(remote), folder) as mirror:
        yield StatusWriter(mirror, BranchWriter(mirror, "status"), timedelta(milliseconds=20))


def ledger(remote: Remote, org: str = "acme") -> dict[str, Any]:
    """All days together: a test may run over midnight."""
    total = {"runs": 0, "requests": 0, "inputTokens": 0, "outputTokens": 0, "costUsd": 0.0}
    for day in remote.status(usage_path(org, datetime.now(UTC).date()))["days"].values():
        total = {name: value + day.get(name, 0) for name, value in total.items()}
    return total


async def test_a_record_and_its_ledger_are_one_commit(remote: Remote, tmp_path: Path) -> None:
    """I4: and a record that uses nothing more writes no ledger."""
    with writer_of(remote.path, tmp_path / "m.git") as status:
        assert await status.open(init=False, known_elsewhere=False) == Done()
        status.lease_acquired("acme", Lease())
        status.put_task(record("a", 3), {})
        assert await status.flush()
        assert status.commits == 1
        assert ledger(remote) == {
            "runs": 1,
            "requests": 3,
            "inputTokens": 3,
            "outputTokens": 0,
            "costUsd": 0.3,
        }
        assert status.spent("acme", datetime.now(UTC).date()).tokens == 3
        path = f"status:{usage_path('acme', datetime.now(UTC).date())}"
        before = remote.git("rev-parse", path, at=remote.path)
        status.put_task(replace(record("a", 3), phase="Publishing"), {})
        assert await status.flush()
        assert remote.git("rev-parse", path, at=remote.path) == before


async def test_a_removed_task_keeps_what_it_used_last(remote: Remote, tmp_path: Path) -> None:
    with writer_of(remote.path, tmp_path / "m.git") as status:
        assert await status.open(init=False, known_elsewhere=False) == Done()
        status.lease_acquired("acme", Lease())
        status.put_task(record("a", 3), {})
        assert await status.flush()
        status.put_task(record("a", 5), {})
        status.remove_task("acme", "a")
        assert await status.flush()
        assert ledger(remote)["requests"] == 5
        status.restore(status.of("acme").removed["a"])
        status.put_task(record("a", 6), {})
        assert await status.flush()
    assert (ledger(remote)["runs"], ledger(remote)["requests"]) == (1, 6)


async def test_a_late_push_of_the_earlier_holder_is_counted_once(
    remote: Remote, tmp_path: Path
) -> None:
    """Commits that waited are made again on what the next holder pushed."""
    with (
        writer_of(remote.path, tmp_path / "1.git") as one,
        writer_of(remote.path, tmp_path / "2.git") as two,
    ):
        for status in (one, two):
            assert await status.open(init=False, known_elsewhere=False) == Done()
        lease = Lease()
        one.lease_acquired("acme", lease)
        one.put_task(record("a", 2), {})
        await one.keep()
        lease.held = False  # paused: it has not noticed yet
        await two.refresh("acme")
        two.lease_acquired("acme", Lease())
        two.put_task(record("a", 4), {})
        two.put_task(record("b", 1), {})
        assert await two.flush()
        assert await one.flush()
        assert (ledger(remote)["runs"], ledger(remote)["requests"]) == (2, 5)
        assert remote.status("orgs/acme/tasks/a/status.json")["usage"]["requests"] == 4


async def test_a_ledger_that_cannot_be_read_blocks_no_record(
    remote: Remote, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """I3."""
    with writer_of(remote.path, tmp_path / "m.git") as status:
        assert await status.open(init=False, known_elsewhere=False) == Done()
        remote.git("fetch", "-q", "origin", "status")
        remote.git("checkout", "-q", "FETCH_HEAD")
        file = remote.work / usage_path("acme", datetime.now(UTC).date())
        file.parent.mkdir(parents=True)
        file.write_text("{")
        remote.git("add", "-A")
        remote.git("commit", "-q", "-m", "break it")
        remote.git("push", "-q", "origin", "HEAD:status")
        await status.refresh("acme")
        status.lease_acquired("acme", Lease())
        status.put_task(record("a", 3), {})
        assert await status.flush()
    assert ledger(remote)["requests"] == 3
    assert "cannot be read" in caplog.text


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["use", "use", "keep", "flush", "outage", "kill", "take_over"]),
        st.sampled_from("ab"),
    ),
    max_size=14,
)


@hypothesis_settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(EVENTS)
def test_no_order_of_pushes_kills_and_takeovers_changes_the_sum(
    own_surroundings: Path, events: list[tuple[str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        remote = str(Path(folder) / "remote.git")
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", remote], check=True)
        asyncio.run(_play(Path(folder), events))


async def _play(folder: Path, events: list[tuple[str, str]]) -> None:
    """The cluster remembers what each task used; a holder records it when it comes to look."""
    path, away = folder / "remote.git", folder / "away.git"
    used = {"a": 0, "b": 0}
    holder = 0

    @contextmanager
    def opened(number: int) -> Iterator[StatusWriter]:
        with writer_of(path, folder / f"{number}.git") as status:
            yield status

    async def sit_down(status: StatusWriter) -> None:
        assert await status.open(init=False, known_elsewhere=False) == Done()
        await status.refresh("acme")
        status.lease_acquired("acme", Lease())
        for task, count in used.items():
            put(status, task, count)

    def put(status: StatusWriter, task: str, count: int) -> None:
        known = status.of("acme").get(task)
        before = (known.usage or {}).get("requests", 0) if known is not None else 0
        status.put_task(record(task, max(before, count)), {})

    stack = opened(holder)
    status = stack.__enter__()
    await sit_down(status)
    for event, task in events:
        if event == "use":
            used[task] += 1
            put(status, task, used[task])
        elif event == "keep":
            await status.keep()
        elif event == "flush":
            await status.flush()
        elif event == "outage":
            path.rename(away)
            await status.flush()
            away.rename(path)
        else:
            stack.__exit__(None, None, None)
            holder = (holder + (event == "take_over")) % 2
            stack = opened(holder)
            status = stack.__enter__()
            await sit_down(status)
    assert await status.flush()
    stack.__exit__(None, None, None)
    with writer_of(path, folder / "reader.git") as reader:
        assert await reader.open(init=False, known_elsewhere=False) == Done()
        spent = reader.spent("acme", datetime.now(UTC).date())
        recorded = {t: reader.of("acme").get(t) for t in used}
    assert {t: (r.usage or {}).get("requests", 0) if r else 0 for t, r in recorded.items()} == used
    assert (spent.runs, spent.requests) == (2, sum(used.values()))
    assert spent != Amounts()
