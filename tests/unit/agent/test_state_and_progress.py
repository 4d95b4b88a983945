"""The state as JSON, requests that wait for its next change, and progress by the journal."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from guildnet.agent_api.artifacts import Artifact, RejectedArtifact
from guildnet.agent_api.state import (
    MAX_STATE_BYTES,
    AgentState,
    ContextProgress,
    Failure,
    Published,
    StartId,
)
from guildnet.digest import canonical_json
from guildnet_agent.job import Job, Result
from guildnet_agent.supervisor.journal import Entry, Journal
from guildnet_agent.supervisor.progress import (
    dump_state,
    ended_data,
    job_data,
    load_state,
    recover,
)
from guildnet_agent.supervisor.state_board import StateBoard

START = StartId(1, 2, 3)
JOB = Job(START, ("true",), "p", (), None, "acme/fix/1", "A", "a@example.com")
RESULT = Result(START, exit_code=0, started_at="2026-01-01T00:00:00Z")
FINAL = AgentState(
    run=1,
    attempt=2,
    start=3,
    step="Finished",
    outcome="Failed",
    failure=Failure("TaskFailed", "why", False),
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    exit_code=1,
    contexts=(ContextProgress("web", "Ready"),),
    published=Published("BranchPushed", "there"),
    pull_request={"number": 1},
    artifacts=(Artifact("a.json", 1, "x"),),
    rejected_artifacts=(RejectedArtifact("B.json", "Invalid", "name"),),
)


def test_a_state_comes_back_from_the_journal() -> None:
    data = json.loads(json.dumps(dump_state(FINAL)))
    assert load_state(data) == FINAL
    assert load_state(data).to_json() == FINAL.to_json()


def test_the_largest_state_fits() -> None:
    """I9: at most 64 KiB, whatever the work container reports."""
    many = AgentState(
        contexts=tuple(ContextProgress(f"c{n}", "Failed", "é" * 9000) for n in range(16)),
        rejected_artifacts=tuple(
            RejectedArtifact("n" * 60, "Invalid", "é" * 9000) for _ in range(16)
        ),
        failure=Failure("TaskFailed", "é" * 9000),
        log_tail="é" * 2048,
    )
    assert len(canonical_json(many.to_json())) <= MAX_STATE_BYTES


def test_progress_is_recovered_from_the_journal() -> None:
    """A command that was handed over does not run again; one that ended is only published (I7)."""
    begun = Entry("begun", START, {"spec": {"prompt": "p"}})
    handed_over = Entry("handed_over", START, job_data(JOB, "guildnet/acme/fix", True))
    running = Entry("running", START, {"at": "2026-01-01T00:00:00Z"})
    ended = Entry("ended", START, ended_data(RESULT))
    finished = Entry("finished", START, dump_state(FINAL))

    assert recover([]) is None
    first = recover([begun])
    assert first is not None
    assert (first.job, first.result, first.final) == (None, None, None)
    second = recover([begun, handed_over])
    assert second is not None
    assert (second.job, second.branch, second.may_continue) == (JOB, "guildnet/acme/fix", True)
    third = recover([begun, handed_over, running, ended])
    assert third is not None
    assert third.running_since == datetime(2026, 1, 1, tzinfo=UTC)
    assert third.result == RESULT
    last = recover([begun, handed_over, running, ended, finished])
    assert last is not None
    assert last.final == FINAL


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.begin(START, {"spec": {"prompt": "p"}})
    with open(tmp_path / "journal.jsonl", "ab") as file:
        line = {"event": "told", "id": asdict(START), "data": job_data(JOB, "b", False)}
        file.write(json.dumps(line).encode() + b"\n")
    progress = recover(journal.read())
    assert progress is not None
    assert progress.job == JOB


async def test_only_a_change_wakes_waiting_requests() -> None:
    """I4: the same state gives the same bytes and the same tag."""
    board = StateBoard()
    etag = board.etag
    board.change(step="Waiting")
    assert board.etag == etag
    assert not await board.wait_for_other(etag, 0)
    board.change(step="Preparing")
    assert board.etag != etag
    assert await board.wait_for_other(etag, 0)
    assert await board.wait_for_other(None, 0)
