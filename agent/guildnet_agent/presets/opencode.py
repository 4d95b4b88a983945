"""OpenCode (program ``opencode``), with Chat Completions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

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
    tool_call,
    tool_failure,
)

_KEY_VARIABLE = "GUILDNET_MODEL_KEY"


@dataclass(frozen=True)
class OpenCode:
    name: str = "opencode"
    programs: tuple[str, ...] = ("opencode",)
    protocols: tuple[str, ...] = ("openai-chat",)

    def has_session(self, places: Places) -> bool:
        return has_files(places.state, "opencode/*.db")

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
        name = f"guildnet/{model.name}"
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {
                "baseURL": f"{model.base_url}/v1",
                "apiKey": f"{{env:{_KEY_VARIABLE}}}",
            },
            "models": {model.name: {}},
        }
        config = {
            "autoupdate": False,
            "share": "disabled",
            "model": name,
            "small_model": name,
            "enabled_providers": ["guildnet"],
            "provider": {"guildnet": provider},
        }
        argv = (
            "opencode",
            "run",
            *("--format", "json"),
            "--auto",
            # A title costs one more request otherwise.
            *(("--continue",) if resume else ("--title", "GuildNet task")),
        )
        environ = {
            **QUIET,
            _KEY_VARIABLE: model.key,
            "OPENCODE_CONFIG_CONTENT": json.dumps(config),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            # It tries to install a package at each start.
            "npm_config_registry": "http://127.0.0.1:9/",
            "XDG_DATA_HOME": str(places.state),
        }
        return Invocation(argv, environ, folders=(places.state,), stdin=places.prompt_file)

    def transcript(self) -> OpenCodeTranscript:
        return OpenCodeTranscript()


class OpenCodeTranscript:
    """Lines of ``--format json``."""

    def __init__(self) -> None:
        self._error = ""
        self._reason: str | None = None

    def read(self, line: str) -> list[str]:
        event = parse_event(line)
        if event is None:
            return [line]
        kind = event.get("type")
        if kind == "text":
            return message(part(event, "part", "text"))
        if kind == "tool_use":
            state = part(event, "part", "state")
            lines = tool_call(part(event, "part", "tool"), part(state, "input"))
            failed = part(state, "status") == "error"
            return [*lines, *tool_failure(part(state, "error"))] if failed else lines
        if kind == "step_finish":
            self._reason = part(event, "part", "reason")
        elif kind == "error":
            data = part(event, "error", "data", "message") or part(event, "error", "name")
            self._error = error_text(data)
            return [f"error: {self._error}"]
        return []

    def outcome(self, exit_code: int) -> Outcome:
        if self._error:
            return Outcome("model_error", self._error)
        if exit_code == 0 and self._reason == "stop":
            return Outcome("success")
        if self._reason == "length":
            return Outcome("limit", "the model's answer reached its length limit")
        return Outcome("incomplete", f"opencode ended with exit code {exit_code} in mid-turn")
