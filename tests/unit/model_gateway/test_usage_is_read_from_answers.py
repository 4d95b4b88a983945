"""Usage out of answers as the providers word them, whole, streamed and cut anywhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_agent.supervisor.model_gateway.usage_reading import AnswerUsage, Tokens


def read(protocol: str, data: bytes, *, stream: bool, size: int = 10**9) -> Tokens | None:
    usage = AnswerUsage(protocol, is_stream=stream)  # type: ignore[arg-type]
    for at in range(0, len(data), size):
        usage.feed(data[at : at + size])
    usage.end()
    return usage.tokens


def events(*values: object, named: bool = False) -> bytes:
    lines = []
    for value in values:
        if named and isinstance(value, dict):
            lines.append(f"event: {value['type']}")
        lines += [f"data: {value if isinstance(value, str) else json.dumps(value)}", ""]
    return "\n".join([*lines, ""]).encode()


ANTHROPIC = {
    "input_tokens": 25,
    "cache_creation_input_tokens": 200,
    "cache_read_input_tokens": 3000,
    "output_tokens": 1,
}
STARTED = {"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": ANTHROPIC}}
DELTA = {
    "type": "content_block_delta",
    "delta": {"type": "text_delta", "text": 'say "usage": {"output_tokens": 999}'},
}
ENDED = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn"},
    "usage": {"output_tokens": 70, "input_tokens": None},
}
CHAT = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
RESPONSES = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 64},
    "output_tokens": 40,
    "output_tokens_details": {"reasoning_tokens": 30},
}
GEMINI = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 64,
    "candidatesTokenCount": 10,
    "thoughtsTokenCount": 30,
}
SAME = Tokens(input=100, cached_input=64, output=40, reasoning=30)
WHOLE_ANTHROPIC = Tokens(input=3225, cached_input=3000, cache_write=200, output=70)

STREAMS = {
    "anthropic": (
        events(STARTED, DELTA, ENDED, {"type": "message_stop"}, named=True),
        WHOLE_ANTHROPIC,
    ),
    "openai-chat": (
        events(
            {"choices": [{"delta": {"content": "x"}}], "usage": None},
            {"choices": [], "usage": CHAT},
            "[DONE]",
        ),
        SAME,
    ),
    "openai-responses": (
        events(
            {"type": "response.created", "response": {"usage": None}},
            {"type": "response.completed", "response": {"output": [], "usage": RESPONSES}},
            named=True,
        ),
        SAME,
    ),
    "gemini": (
        events(
            {"candidates": [], "usageMetadata": {"promptTokenCount": 100}},
            {"candidates": [], "usageMetadata": GEMINI},
        ),
        SAME,
    ),
}


@pytest.mark.parametrize("protocol", list(STREAMS))
@pytest.mark.parametrize("size", [1, 7, 10**9])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_stream_in_any_pieces(protocol: str, size: int, line_end: bytes) -> None:
    data, expected = STREAMS[protocol]
    assert read(protocol, data.replace(b"\n", line_end), stream=True, size=size) == expected


@pytest.mark.parametrize(
    ("protocol", "answer", "expected"),
    [
        (
            "anthropic",
            {"content": [], "usage": {**ANTHROPIC, "output_tokens": 70}},
            WHOLE_ANTHROPIC,
        ),
        ("openai-chat", {"choices": [], "usage": CHAT}, SAME),
        ("openai-responses", {"output": [{"usage": 1}], "usage": RESPONSES}, SAME),
        ("gemini", {"candidates": [], "usageMetadata": GEMINI}, SAME),
        ("gemini", [{"usageMetadata": {"promptTokenCount": 1}}, {"usageMetadata": GEMINI}], SAME),
    ],
)
def test_a_whole_answer(protocol: str, answer: object, expected: Tokens) -> None:
    assert read(protocol, json.dumps(answer, indent=2).encode(), stream=False) == expected


def test_a_cut_stream_keeps_what_it_reported_so_far() -> None:
    data = events(STARTED, DELTA, named=True)
    cut = Tokens(input=3225, cached_input=3000, cache_write=200, output=1)
    assert read("anthropic", data[:-20], stream=True) == cut
    assert read("openai-chat", events({"choices": []}), stream=True) is None


def test_an_incomplete_or_failed_response_counts() -> None:
    for kind in ("response.incomplete", "response.failed"):
        data = events({"type": kind, "response": {"usage": RESPONSES}}, named=True)
        assert read("openai-responses", data, stream=True) == SAME


def test_prompt_cache_hits_in_the_words_of_other_endpoints() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 40, "prompt_cache_hit_tokens": 64}
    answer = json.dumps({"usage": usage}).encode()
    assert read("openai-chat", answer, stream=False) == Tokens(100, 64, 0, 40)


@pytest.mark.parametrize("value", [-1, 10**13, 1.5, "7", True, None, [7], {}])
def test_a_count_that_is_not_one_is_zero(value: object) -> None:
    answer = json.dumps({"usage": {"prompt_tokens": value, "completion_tokens": 4}}).encode()
    assert read("openai-chat", answer, stream=False) == Tokens(output=4)


@pytest.mark.parametrize("protocol", list(STREAMS))
@given(junk=st.binary(max_size=300), stream=st.booleans())
def test_no_answer_breaks_the_reader(protocol: str, junk: bytes, stream: bool) -> None:
    member = b'"usageMetadata"' if protocol == "gemini" else b'"usage"'
    for data in (junk, b"data:{" + member + b":" + junk, b"{" + member + b":{" + junk):
        read(protocol, data, stream=stream)
