"""A run ends at the moment in which the next one is asked for: neither is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from guildnet import labels
from guildnet.git import BranchWriter, Mirror
from guildnet.outcome import Done
from guildnet_reconciler.org.recorder import Recorder
from guildnet_reconciler.records.branch import StatusWriter

if TYPE_CHECKING:
    from guildnet_reconciler.settings import Settings

PULL = {"url": "https://git.example/acme/web/pulls/1", "state": "open"}


class LeaseState:
    """A Lease that is held."""

    held = True


@pytest.fixture
async def status(settings: Settings) -> AsyncIterator[StatusWriter]:
    with Mirror.open(settings.repo, settings.mirror_path()) as mirror:
        branch = StatusWriter(mirror, BranchWriter(mirror, "status"), timedelta(seconds=1))
        assert await branch.open(init=False, known_elsewhere=False) == Done()
        branch.lease_acquired("acme", LeaseState())
        yield branch


def agent_task(of: int, **status: Any) -> dict[str, Any]:
    """The AgentTask `fix` with the digest of run `of`, and a status that may be older."""
    return {
        "metadata": {
            "name": "fix",
            "uid": "u1",
            "annotations": {labels.RUN_DIGEST: f"sha256:{of}", labels.SOURCE_BLOB: f"b{of}"},
        },
        "spec": {"run": of},
        "status": status,
    }


def ended(run: int) -> dict[str, Any]:
    conditions = [
        {"type": "Succeeded", "status": "True", "reason": "TaskSucceeded"},
        {"type": "Finished", "status": "True", "reason": "TaskSucceeded"},
    ]
    return {"run": run, "attempt": 1, "conditions": conditions, "pullRequest": PULL}


async def test_the_end_is_in_the_history_of_the_next_run(status: StatusWriter) -> None:
    """I6: the answer to our write of run 2 is the first to report the end of run 1."""
    recorder = Recorder("acme", status, lambda before, after: None)
    recorder.record_status(agent_task(1, run=1, attempt=1))
    recorder.record_status(agent_task(2, **ended(1)))
    record = status.of("acme").get("fix")
    assert record is not None
    assert (record.run, record.digest, record.result) == (2, "sha256:2", None)
    (earlier,) = record.history
    assert (earlier["run"], earlier["digest"]) == (1, "sha256:1")
    assert (earlier["result"], earlier["pullRequest"]) == ("TaskSucceeded", PULL["url"])


async def test_an_end_is_kept_of_a_run_that_was_never_recorded(status: StatusWriter) -> None:
    """I6: the process that began it was killed before its record was pushed."""
    Recorder("acme", status, lambda before, after: None).record_status(agent_task(2, **ended(1)))
    record = status.of("acme").get("fix")
    assert record is not None
    assert (record.run, record.result) == (2, None)
    (earlier,) = record.history
    assert (earlier["run"], earlier["result"]) == (1, "TaskSucceeded")


async def test_a_task_that_comes_back_keeps_its_history(status: StatusWriter) -> None:
    """I6: including what only its tombstone holds."""
    recorder = Recorder("acme", status, lambda before, after: None)
    recorder.record_status(agent_task(1, **ended(1)))
    status.remove_task("acme", "fix")
    recorder.record_status(agent_task(2, run=2, attempt=1))
    record = status.of("acme").get("fix")
    assert record is not None
    assert [(entry["run"], entry["result"]) for entry in record.history] == [(1, "TaskSucceeded")]


async def test_a_run_that_nothing_ended_is_superseded(status: StatusWriter) -> None:
    """I7: an end is never made up."""
    recorder = Recorder("acme", status, lambda before, after: None)
    recorder.record_status(agent_task(1, run=1, attempt=1))
    recorder.record_status(agent_task(2, run=1, attempt=1))
    record = status.of("acme").get("fix")
    assert record is not None
    assert [entry["result"] for entry in record.history] == ["Superseded"]
