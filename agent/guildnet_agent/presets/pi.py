"""pi (program ``pi``), with Chat Completions, Messages or Responses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guildnet_agent.presets.preset import (
    QUIET,
    Invocation,
    ModelAccess,
    Outcome,
    Places,
    has_files,
)
from guildnet_agent.presets.reading import (
    error_text,
    message,
    parse_event,
    part,
    parts,
    tool_call,
    tool_failure,
)

_KEY_VARIABLE = "GUILDNET_MODEL_KEY"
_APIS = {
    "openai-chat": ("openai-completions", "/v1"),
    "anthropic": ("anthropic-messages", ""),
    "openai-responses": ("openai-responses", "/v1"),
}


@dataclass(frozen=True)
class Pi:
    name: str = "pi"
    programs: tuple[str, ...] = ("pi",)
    protocols: tuple[str, ...] = ("openai-chat", "anthropic", "openai-responses")

    def has_session(self, places: Places) -> bool:
        return has_files(places.state, "*.jsonl")

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
        api, version = _APIS[model.protocol]
        provider = {
            "baseUrl": model.base_url + version,
            "api": api,
            "apiKey": f"${_KEY_VARIABLE}",
            "models": [{"id": model.name}],
        }
        argv = (
            "pi",
            "-p",
            *("--mode", "json"),
            *("--provider", "guildnet", "--model", model.name),
            *("--session-dir", str(places.state), "--session-id", places.session),
        )
        environ = {**QUIET, _KEY_VARIABLE: model.key, "PI_OFFLINE": "1", "PI_TELEMETRY": "0"}
        settings = places.home / ".pi" / "agent" / "models.json"
        return Invocation(
            argv,
            environ,
            files={settings: json.dumps({"providers": {"guildnet": provider}}, indent=1)},
            folders=(places.state,),
            stdin=places.prompt_file,
        )

    def transcript(self) -> PiTranscript:
        return PiTranscript()


class PiTranscript:
    """Lines of ``--mode json``. The exit code is 0 whatever happened: the last turn counts."""

    def __init__(self) -> None:
        self._last: dict[str, Any] | None = None

    def read(self, line: str) -> list[str]:
        event = parse_event(line)
        if event is None:
            return [line]
        kind = event.get("type")
        if kind == "message_end" and part(event, "message", "role") == "assistant":
            lines: list[str] = []
            for item in parts(event, "message", "content"):
                if item.get("type") == "text":
                    lines += message(item.get("text"))
            if part(event, "message", "stopReason") == "error":
                lines.append(f"error: {error_text(part(event, 'message', 'errorMessage'))}")
            return lines
        if kind == "turn_end":
            ended = part(event, "message")
            self._last = ended if isinstance(ended, dict) else {}
        elif kind == "tool_execution_start":
            return tool_call(event.get("toolName"), event.get("args"))
        elif kind == "tool_execution_end" and event.get("isError"):
            text = " ".join(str(i.get("text", "")) for i in parts(event, "result", "content"))
            return tool_failure(text)
        elif kind == "auto_retry_start":
            return [f"note: asking again: {error_text(event.get('errorMessage'))}"]
        return []

    def outcome(self, exit_code: int) -> Outcome:
        if self._last is None:
            return Outcome("incomplete", f"pi ended with exit code {exit_code} and no turn")
        reason = self._last.get("stopReason")
        if reason == "stop" and exit_code == 0:
            return Outcome("success")
        if reason == "error":
            return Outcome("model_error", error_text(self._last.get("errorMessage")))
        if reason in ("length", "refusal"):
            kind = "limit" if reason == "length" else "refused"
            return Outcome("limit" if kind == "limit" else "refused", f"pi stopped: {reason}")
        return Outcome("incomplete", f"pi ended with exit code {exit_code}, in a turn: {reason}")
