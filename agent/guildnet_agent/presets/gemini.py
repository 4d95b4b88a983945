"""Gemini CLI (program ``gemini``), with Gemini's own protocol."""

from __future__ import annotations

import json
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
    error_text,
    message,
    parse_event,
    part,
    tool_call,
    tool_failure,
)

_TURN_LIMIT_EXIT = 53
_SETTINGS = {
    # Without it a set base URL makes it choose a gateway of its own kind.
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {
        "enableAutoUpdate": False,
        "enableAutoUpdateNotification": False,
        "maxAttempts": 3,
    },
    "model": {"maxSessionTurns": MAX_TURNS},
    "context": {"fileName": ["AGENTS.md", "GEMINI.md"]},
}


@dataclass(frozen=True)
class Gemini:
    name: str = "gemini"
    programs: tuple[str, ...] = ("gemini",)
    protocols: tuple[str, ...] = ("gemini",)

    def has_session(self, places: Places) -> bool:
        return has_files(places.state, ".gemini/tmp/*/chats/*.json*")

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
        settings = places.state / ".gemini" / "settings.json"
        argv = (
            "gemini",
            *("--yolo", "--skip-trust"),
            *("--output-format", "stream-json"),
            *("--model", model.name),
            *(("--resume", "latest") if resume else ()),
        )
        environ = {
            **QUIET,
            "GOOGLE_GEMINI_BASE_URL": model.base_url,
            "GEMINI_API_KEY": model.key,
            # Without it the program ignores SIGTERM.
            "GEMINI_CLI_NO_RELAUNCH": "true",
            "GEMINI_CLI_HOME": str(places.state),
        }
        return Invocation(
            argv,
            environ,
            files={settings: json.dumps(_SETTINGS, indent=1)},
            folders=(places.state,),
            stdin=places.prompt_file,
        )

    def transcript(self) -> GeminiTranscript:
        return GeminiTranscript()


class GeminiTranscript:
    """Lines of ``--output-format stream-json``. The exit code lies: the result line counts."""

    def __init__(self) -> None:
        self._result: dict[str, Any] | None = None
        self._said = ""
        self._error = ""

    def read(self, line: str) -> list[str]:
        event = parse_event(line)
        if event is None:
            return [*self._flush(), line]
        kind = event.get("type")
        if kind == "message":
            # Text comes in pieces.
            if event.get("role") == "assistant":
                self._said += str(event.get("content") or "")
            return []
        lines = self._flush()
        if kind == "tool_use":
            lines += tool_call(event.get("tool_name"), event.get("parameters"))
        elif kind == "tool_result" and event.get("status") == "error":
            lines += tool_failure(part(event, "error", "message") or event.get("output"))
        elif kind == "error":
            self._error = error_text(event.get("message"))
            lines.append(f"error: {self._error}")
        elif kind == "result":
            self._result = dict(event)
        return lines

    def _flush(self) -> list[str]:
        said, self._said = self._said, ""
        return message(said)

    def outcome(self, exit_code: int) -> Outcome:
        if exit_code == _TURN_LIMIT_EXIT:
            return Outcome("limit", f"gemini reached its limit of {MAX_TURNS} turns")
        if self._result is None:
            return Outcome("incomplete", f"gemini ended with exit code {exit_code} and no result")
        if self._result.get("status") == "success" and exit_code == 0:
            return Outcome("success")
        text = part(self._result, "error", "message") or self._error or f"exit code {exit_code}"
        return Outcome("model_error", error_text(text))
