"""An agent's answer is read without trust (I9)."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guildnet.agent_api.parsing import parse_state
from guildnet.agent_api.state import MAX_LOG_TAIL_BYTES, AgentState, ContextProgress
from guildnet.errors import AgentAnswerRejected

WAITING: dict[str, Any] = {
    "run": 0, "attempt": 0, "start": 0, "step": "Waiting", "outcome": None, "failure": None,
    "startedAt": None, "finishedAt": None, "exitCode": None, "contexts": [], "branch": None,
    "commit": None, "published": None, "pullRequest": None, "lastRun": None, "artifacts": [],
    "rejectedArtifacts": [], "editor": {"serving": False}, "logTail": "",
}  # fmt: skip


def parse(**changes: Any) -> AgentState:
    return parse_state(json.dumps({**WAITING, **changes}).encode())


def test_the_agreed_shape_is_read() -> None:
    state = parse(
        run=1, attempt=2, start=3, step="Finished", outcome="Failed", exitCode=3,
        failure={"reason": "TaskFailed", "message": "exit code 3", "infrastructure": False},
        startedAt="2026-11-22T12:00:00Z",
        contexts=[{"name": "web", "state": "Failed", "message": "no route"}],
        artifacts=[{"name": "a.json", "bytes": 2, "sha256": "0" * 64}],
        pullRequest={"url": "https://x/1", "number": 1, "surprise": 1},
    )  # fmt: skip
    assert state.triple == (1, 2, 3)
    assert state.is_over
    assert state.contexts[0] == ContextProgress("web", "Failed", "no route")
    assert state.pull_request == {"url": "https://x/1", "number": 1}
    assert [a.name for a in state.bodies] == ["a.json"]


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "Hacked"},
        {"run": -1},
        {"run": True},
        {"attempt": "1"},
        {"outcome": "Great"},
        {"startedAt": "yesterday"},
        {"artifacts": [{"name": "../x.json", "bytes": 1, "sha256": "0" * 64}]},
        {"artifacts": [{"name": "x.json", "bytes": 1, "sha256": "short"}]},
        {"pullRequest": []},
        {"lastRun": {"x": "y" * 5000}},
        {"logTail": 7},
        {"failure": {"reason": 1, "message": ""}},
        {"exitCode": 2**40},
        {"exitCode": 1.5},
        {"startedAt": "0001-01-01T00:00:00Z"},
        {"finishedAt": "9999-12-31T23:59:59Z"},
        {"lastRun": {"tokens": 2**63}},
        {"lastRun": {"tokens": float("nan")}},
        {"lastRun": {"tokens": float("inf")}},
    ],
)
def test_anything_else_is_dropped(changes: dict[str, Any]) -> None:
    with pytest.raises(AgentAnswerRejected):
        parse(**changes)


def test_too_large_an_answer_is_dropped() -> None:
    with pytest.raises(AgentAnswerRejected, match="64 KiB"):
        parse_state(b" " * (64 * 1024 + 1))


def test_what_is_long_is_cut_and_what_are_many_are_few() -> None:
    many = [{"name": f"a{n}.json", "bytes": 1, "sha256": "0" * 64} for n in range(40)]
    own = [{"name": "last_pr.json", "bytes": 1, "sha256": "0" * 64}]
    state = parse(logTail="x" * 9000, artifacts=many + own, branch="b" * 400)
    assert len(state.log_tail) == MAX_LOG_TAIL_BYTES
    assert len(state.artifacts) == 17
    assert state.branch is not None
    assert len(state.branch) == 255


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    with pytest.raises(AgentAnswerRejected):
        parse_state(data)


@pytest.mark.parametrize("deep", ['{"a":' * 60 + "1" + "}" * 60, "[" * 900 + "]" * 900])
def test_nesting_is_bounded(deep: str) -> None:
    whole = json.dumps(WAITING).replace('"lastRun": null', f'"lastRun": {{"x": {deep}}}')
    with pytest.raises(AgentAnswerRejected):
        parse_state(whole.encode())


def test_a_number_that_no_server_stores_is_dropped() -> None:
    whole = json.dumps(WAITING).replace('"lastRun": null', '"lastRun": {"tokens": 1e999}')
    with pytest.raises(AgentAnswerRejected):
        parse_state(whole.encode())


def test_texts_are_fit_for_a_status() -> None:
    state = parse(
        branch="half \ud800 a pair",
        failure={"reason": "TaskFailed", "message": "\x1b[31mred\x00"},
        lastRun={"half \ud800": ["\udfff"]},
        logTail="10%\r20%\r\nend \ud800",
    )
    assert state.branch == "half \ufffd a pair"
    assert state.failure is not None
    assert state.failure.message == "\ufffd[31mred\ufffd"
    assert state.last_run == {"half \ufffd": ["\ufffd"]}
    assert state.log_tail == "10%\n20%\nend \ufffd"


any_text = st.text(st.characters(exclude_categories=()), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(WAITING)), json_values)
def test_no_value_of_a_field_breaks_it(name: str, value: Any) -> None:
    try:
        state = parse(**{name: value})
    except AgentAnswerRejected:
        return
    # What is read can be written: as UTF-8, and as JSON that a server takes.
    json.dumps(asdict(state), ensure_ascii=False, allow_nan=False, default=str).encode()


AMOUNT = {"requests": 4, "inputTokens": 4600, "cachedInputTokens": 2400, "outputTokens": 206}
USAGE = {**AMOUNT, "costUsd": 0.0168, "models": {"m-1": {**AMOUNT, "costUsd": 0.0168}}}


def test_the_usage_of_a_model_is_read() -> None:
    assert parse(usage=USAGE).usage == USAGE
    assert parse().usage is None
    unknown: dict[str, Any] = {**AMOUNT, "costUsd": None, "models": {}}
    assert parse(usage=unknown).usage == {**AMOUNT, "models": {}}
    assert parse(usage={**USAGE, "surprise": 1}).usage == USAGE


def test_a_whole_number_of_dollars_is_written_as_an_api_server_writes_it() -> None:
    """I4."""
    usage = parse(usage={**USAGE, "costUsd": 3.0}).usage
    assert usage is not None
    assert repr(usage["costUsd"]) == "3"


@pytest.mark.parametrize(
    "changes",
    [
        {"requests": -1},
        {"inputTokens": 2**60},
        {"outputTokens": "7"},
        {"cachedInputTokens": True},
        {"costUsd": float("nan")},
        {"costUsd": -1},
        {"costUsd": "free"},
        {"models": []},
        {"models": {"m": {}}},
        {"models": {f"m{number}": AMOUNT for number in range(17)}},
    ],
)
def test_a_usage_that_is_not_one_is_dropped(changes: dict[str, Any]) -> None:
    with pytest.raises(AgentAnswerRejected):
        parse(usage={**USAGE, **changes})
