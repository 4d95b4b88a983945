"""Jobs, stops and results as JSON; every field of a result is checked."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.agent_api.state import StartId
from guildnet_agent.exchange import ExchangeRefused
from guildnet_agent.job import (
    MAX_NOTE_CHARACTERS,
    MAX_NOTES,
    Job,
    JobContext,
    Result,
    Stop,
    parse_job,
    parse_result,
    parse_stop,
    to_json,
)

START = StartId(2, 1, 3)
JOB = Job(
    id=START,
    command=("sh", "-c", "true"),
    prompt="Fix it ✓",
    contexts=(
        JobContext("web", "git", "a" * 40, "guildnet/acme/fix", "https://h/x.git", ("docs",)),
        JobContext("notes", "text"),
    ),
    publish="web",
    trailer="acme/fix/2",
    author_name="A",
    author_email="a@example.com",
)


def test_jobs_and_stops_survive_a_round_trip() -> None:
    assert parse_job(to_json(JOB)) == JOB
    assert parse_job(to_json(replace(JOB, has_begun=True))).has_begun
    assert parse_stop(to_json(Stop(START, "Cancelled"))) == Stop(START, "Cancelled")


def test_results_survive_a_round_trip() -> None:
    notes = ("left out: vendor",)
    result = Result(START, 1, started_at="2026-01-01T00:00:00Z", tip="b" * 40, notes=notes)
    assert parse_result(to_json(result), START) == result
    moved = replace(result, base="c" * 40)
    assert parse_result(to_json(moved), START) == moved


@pytest.mark.parametrize(
    "change",
    [
        {"id": {"run": 1, "attempt": 1, "start": 3}},
        {"exit_code": "0"},
        {"exit_code": True},
        {"exit_code": 999},
        {"tip": "main"},
        {"tip": ["a" * 40]},
        {"tip": "a" * 40 + "\n"},
        {"base": "--all"},
        {"base": 1},
    ],
)
def test_a_malformed_result_is_refused(change: dict[str, Any]) -> None:
    """I9: every field from the work container is checked."""
    raw = {"id": asdict(START), "exit_code": 0} | change
    with pytest.raises(ExchangeRefused):
        parse_result(json.dumps(raw).encode(), START)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ExchangeRefused):
        parse_result(data, START)


def test_long_texts_of_a_result_are_cut() -> None:
    """I9."""
    raw = {"id": asdict(START), "failure": "x" * 5000, "notes": ["n" * 999] * 99, "stopped": 1}
    result = parse_result(json.dumps(raw).encode(), START)
    assert result.failure is not None
    assert len(result.failure) == 1000
    assert [len(note) for note in result.notes] == [MAX_NOTE_CHARACTERS] * MAX_NOTES
    assert result.stopped is False


@pytest.mark.parametrize("notes", [None, "text", {"a": 1}, [1, None, ["x"]]])
def test_malformed_notes_are_ignored(notes: object) -> None:
    raw = {"id": asdict(START), "notes": notes}
    assert parse_result(json.dumps(raw).encode(), START).notes == ()


def test_lone_surrogates_are_replaced() -> None:
    """I6: JSON can contain lone surrogates, and the state must be written all the same."""
    raw = {"id": asdict(START), "failure": "a\ud800b", "notes": ["\udfff"]}
    result = parse_result(json.dumps(raw).encode(), START)
    assert result.failure == "a?b"
    assert to_json(result)


def test_starts_are_ordered() -> None:
    assert StartId(1, 2, 9) < StartId(1, 3, 1) < StartId(2, 1, 1)
    assert START.folder == "2.1.3"
