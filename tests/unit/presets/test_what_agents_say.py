"""Recorded output of the real agents, read by their presets.

Each was run against a scripted endpoint: Claude Code 2.1.332, Codex 0.169.0, pi 1.3.0, Gemini CLI
0.61.0, OpenCode 1.18.33.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_agent.presets.preset import Outcome
from guildnet_agent.presets.registry import PRESETS

RECORDED = Path(__file__).parent / "recorded"
AGENTS = ("claude-code", "codex", "pi", "gemini", "opencode")
# What the program's exit code was: four of five can say 0, or something odd, after a failure.
EXIT_CODES = {
    "claude-code-unauthorized": 1,
    "claude-code-server-error": 1,
    "claude-code-hung": 143,
    "claude-code-ended": 143,
    "codex-unauthorized": 1,
    "codex-server-error": 1,
    "codex-cut-stream": 1,
    "codex-hung": 143,
    "pi-hung": 143,
    "pi-ended": 143,
    "gemini-unauthorized": 145,
    "gemini-server-error": 244,
    "opencode-unauthorized": 1,
    "opencode-server-error": 1,
}


def read(agent: str, case: str) -> tuple[list[str], Outcome]:
    """The lines for people, and the outcome."""
    transcript = PRESETS[agent].transcript()
    text = (RECORDED / f"{agent}-{case}.txt").read_text()
    lines = [shown for line in text.splitlines() for shown in transcript.read(line)]
    return lines, transcript.outcome(EXIT_CODES.get(f"{agent}-{case}", 0))


@pytest.mark.parametrize("agent", AGENTS)
def test_a_repair_is_a_success_and_one_line_for_each_message_and_tool(agent: str) -> None:
    lines, outcome = read(agent, "success")
    assert outcome.kind == "success"
    said = [line for line in lines if line.startswith("agent: ")]
    assert said == [
        "agent: Step: read.",
        "agent: Step: edit.",
        "agent: Step: test.",
        "agent: The test passes now.",
    ]
    tools = [line for line in lines if line.startswith("tool ")]
    assert len(tools) == 3
    assert "calc.py" in tools[0]
    assert "calc.py" in tools[1]
    assert "python3 -m unittest" in tools[2]
    assert not [line for line in lines if line.startswith("{")]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    ("case", "word"), [("unauthorized", "scripted 401"), ("server-error", "500")]
)
def test_an_error_of_the_endpoint_is_named_in_log_and_outcome(
    agent: str, case: str, word: str
) -> None:
    lines, outcome = read(agent, case)
    assert outcome.kind == "model_error"
    if (agent, case) == ("codex", "server-error"):
        word = "high demand"  # its own words for every 500
    assert word in outcome.message
    assert "{" not in outcome.message
    assert any(word in line for line in lines), lines


@pytest.mark.parametrize("agent", ["codex", "pi", "gemini"])
def test_a_stream_that_is_cut_again_and_again_is_an_error_of_the_endpoint(agent: str) -> None:
    lines, outcome = read(agent, "cut-stream")
    assert outcome.kind == "model_error"
    assert "stream" in outcome.message.lower()
    assert any("stream" in line.lower() for line in lines)


def test_claude_code_asks_again_without_a_stream() -> None:
    assert read("claude-code", "cut-stream")[1].kind == "success"


@pytest.mark.parametrize(
    ("agent", "case"),
    [
        ("claude-code", "hung"),
        ("claude-code", "ended"),
        ("codex", "hung"),
        ("pi", "hung"),
        ("pi", "ended"),
    ],
)
def test_an_agent_that_was_ended_is_incomplete(agent: str, case: str) -> None:
    outcome = read(agent, case)[1]
    assert outcome.kind == "incomplete"
    assert "143" in outcome.message


@pytest.mark.parametrize("agent", AGENTS)
def test_no_output_is_not_a_success(agent: str) -> None:
    assert PRESETS[agent].transcript().outcome(0).kind == "incomplete"


@pytest.mark.parametrize(
    ("agent", "event", "exit_code", "kind"),
    [
        (
            "claude-code",
            {"type": "result", "subtype": "error_max_turns", "is_error": True},
            1,
            "limit",
        ),
        (
            "claude-code",
            {"type": "result", "subtype": "success", "is_error": False, "stop_reason": "refusal"},
            0,
            "refused",
        ),
        ("pi", {"type": "turn_end", "message": {"stopReason": "length"}}, 0, "limit"),
        ("pi", {"type": "turn_end", "message": {"stopReason": "refusal"}}, 0, "refused"),
        ("gemini", {"type": "result", "status": "error"}, 53, "limit"),
        ("opencode", {"type": "step_finish", "part": {"reason": "length"}}, 0, "limit"),
    ],
)
def test_limits_and_refusals(
    agent: str, event: dict[str, object], exit_code: int, kind: str
) -> None:
    transcript = PRESETS[agent].transcript()
    transcript.read(json.dumps(event))
    assert transcript.outcome(exit_code).kind == kind


NAMES = st.sampled_from(
    [
        "type",
        "message",
        "content",
        "item",
        "part",
        "error",
        "result",
        "text",
        "state",
        "data",
        "args",
        "input",
        "tool_use",
        "changes",
        "toolName",
        "role",
        "stopReason",
        "output",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        "assistant",
        "user",
        "result",
        "message",
        "message_end",
        "turn_end",
        "tool_use",
        "error",
        "tool_result",
        "tool_execution_start",
        "tool_execution_end",
        "item.completed",
        "item.started",
        "turn.failed",
        "text",
        "step_finish",
        "auto_retry_start",
    ]
)


@pytest.mark.parametrize("agent", AGENTS)
@given(kind=TYPES, fields=st.dictionaries(NAMES, JSON, max_size=5), code=st.integers(0, 255))
def test_no_event_breaks_a_transcript(
    agent: str, kind: str, fields: dict[str, object], code: int
) -> None:
    """Agents change their output without notice, and a hostile command writes its own."""
    transcript = PRESETS[agent].transcript()
    for line in (json.dumps({**fields, "type": kind}), json.dumps(fields), "{", "plain"):
        for shown in transcript.read(line):
            assert "\n" not in shown
    transcript.outcome(code)
