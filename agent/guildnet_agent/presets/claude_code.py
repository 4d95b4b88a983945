"""Claude Code (program ``claude``), with the Messages protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guildnet_agent.presets.preset import (
    MAX_TURNS,
    QUIET,
    Invocation,
    ModelAccess,
    Outcome,
    Places,
    has_files,
)
from guildnet_agent.presets.reading import (
    message,
    one_line,
    parse_event,
    part,
    parts,
    tool_call,
    tool_failure,
)


@dataclass(frozen=True)
class ClaudeCode:
    name: str = "claude-code"
    programs: tuple[str, ...] = ("claude",)
    protocols: tuple[str, ...] = ("anthropic",)

    def has_session(self, places: Places) -> bool:
        return has_files(places.state, "projects/*/*.jsonl")

    def invoke(
        self,
        command: Sequence[str],
        model: ModelAccess | None,
        places: Places,
        *,
        resume: bool,
        prompt: str,
    ) -> Invocation:
        assert model is not None
        argv = (
            "claude",
            "-p",
            *("--output-format", "stream-json", "--verbose"),
            "--dangerously-skip-permissions",
            *("--model", model.name),
            *("--max-turns", str(MAX_TURNS)),
            # Begins a session where there is none.
            "--continue",
        )
        environ = {
            **QUIET,
            "ANTHROPIC_BASE_URL": model.base_url,
            "ANTHROPIC_API_KEY": model.key,
            # Titles and summaries would otherwise ask for a model that the org did not allow.
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": model.name,
            "ANTHROPIC_SMALL_FAST_MODEL": model.name,
            "CLAUDE_CODE_SUBAGENT_MODEL": model.name,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "4",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CONFIG_DIR": str(places.state),
        }
        return Invocation(argv, environ, folders=(places.state,), stdin=places.prompt_file)

    def transcript(self) -> ClaudeTranscript:
        return ClaudeTranscript()


class ClaudeTranscript:
    """Lines of ``--output-format stream-json``. ``is_error`` of the result counts: its subtype
    says "success" also for errors of the endpoint."""

    def __init__(self) -> None:
        self._result: dict[str, Any] | None = None

    def read(self, line: str) -> list[str]:
        event = parse_event(line)
        if event is None:
            return [line]
        if event.get("type") == "result":
            self._result = dict(event)
            return []
        lines: list[str] = []
        for item in parts(event, "message", "content"):
            if event.get("type") == "assistant" and item.get("type") == "text":
                lines += message(item.get("text"))
            elif item.get("type") == "tool_use":
                lines += tool_call(item.get("name"), item.get("input"))
            elif item.get("type") == "tool_result" and item.get("is_error"):
                lines += tool_failure(_text(item.get("content")))
        return lines

    def outcome(self, exit_code: int) -> Outcome:
        result = self._result
        if result is None:
            return Outcome("incomplete", f"claude ended with exit code {exit_code} and no result")
        if not result.get("is_error") and exit_code == 0:
            if result.get("stop_reason") == "refusal":
                return Outcome("refused", one_line(result.get("result") or "no reason given"))
            return Outcome("success", one_line(result.get("result") or ""))
        subtype = str(result.get("subtype"))
        if subtype.startswith("error_max_"):
            return Outcome("limit", f"claude reached its own limit: {subtype}")
        text = result.get("result") or part(result, "errors") or subtype
        kind = "model_error" if result.get("terminal_reason") == "api_error" else "failed"
        return Outcome("model_error" if kind == "model_error" else "failed", one_line(text))


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(item.get("text", "")) for item in content if isinstance(item, dict))
    return str(content or "")
