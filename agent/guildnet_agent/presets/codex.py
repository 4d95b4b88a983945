"""Codex (program ``codex``), with the Responses protocol."""

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
    one_line,
    parse_event,
    part,
    parts,
    tool_call,
    tool_failure,
)

_KEY_VARIABLE = "GUILDNET_MODEL_KEY"


@dataclass(frozen=True)
class Codex:
    name: str = "codex"
    programs: tuple[str, ...] = ("codex",)
    protocols: tuple[str, ...] = ("openai-responses",)

    def has_session(self, places: Places) -> bool:
        return has_files(places.state, "sessions/**/*.jsonl")

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
        provider = "model_providers.guildnet"
        settings: dict[str, object] = {
            "model_provider": "guildnet",
            f"{provider}.name": "guildnet",
            f"{provider}.base_url": f"{model.base_url}/v1",
            f"{provider}.env_key": _KEY_VARIABLE,
            f"{provider}.wire_api": "responses",
            f"{provider}.request_max_retries": 2,
            f"{provider}.stream_max_retries": 3,
            "analytics.enabled": False,
            # Clones a repository of plugins from the internet, and leaves git behind.
            "features.plugins": False,
            # Waits for the network for ever.
            "features.unbounded_connection_retries": False,
            "check_for_update_on_startup": False,
        }
        flags = [
            word
            for name, value in settings.items()
            for word in ("-c", f"{name}={json.dumps(value)}")
        ]
        argv = (
            "codex",
            "exec",
            *(("resume", "--last") if resume else ()),
            "--json",
            "--dangerously-bypass-approvals-and-sandbox",
            *("-m", model.name),
            *flags,
            "-",
        )
        environ = {**QUIET, _KEY_VARIABLE: model.key, "CODEX_HOME": str(places.state)}
        return Invocation(argv, environ, folders=(places.state,), stdin=places.prompt_file)

    def transcript(self) -> CodexTranscript:
        return CodexTranscript()


class CodexTranscript:
    """Lines of ``--json``."""

    def __init__(self) -> None:
        self._is_complete = False
        self._error = ""

    def read(self, line: str) -> list[str]:
        event = parse_event(line)
        if event is None:
            return [line]
        kind = event.get("type")
        if kind == "turn.completed":
            self._is_complete = True
        elif kind in ("turn.failed", "error"):
            text = error_text(part(event, "error", "message") or event.get("message"))
            if text.startswith("Reconnecting"):
                return [f"note: {text}"]
            self._error = text
            return [f"error: {text}"] if kind == "error" else []
        item = part(event, "item")
        if kind == "item.started" and part(item, "type") == "command_execution":
            return tool_call("shell", item.get("command"))
        return self._completed(item) if kind == "item.completed" else []

    def _completed(self, item: object) -> list[str]:
        kind = part(item, "type")
        if kind == "agent_message":
            return message(part(item, "text"))
        if kind == "command_execution" and part(item, "exit_code") not in (0, None):
            return tool_failure(part(item, "aggregated_output"))
        if kind == "file_change":
            return tool_call("edit", ", ".join(str(c.get("path")) for c in parts(item, "changes")))
        if kind == "mcp_tool_call":
            return tool_call(part(item, "tool"), part(item, "arguments"))
        return [f"note: {one_line(part(item, 'message') or '')}"] if kind == "error" else []

    def outcome(self, exit_code: int) -> Outcome:
        if self._is_complete and exit_code == 0:
            return Outcome("success")
        if self._error:
            return Outcome("model_error", self._error)
        return Outcome("incomplete", f"codex ended with exit code {exit_code} and no result")
