"""The task's own command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guildnet_agent.presets.preset import Invocation, ModelAccess, Outcome, Places

PROMPT_ARGUMENT = "{prompt}"
_VARIABLES = {
    "anthropic": (("ANTHROPIC_BASE_URL", ""), "ANTHROPIC_API_KEY"),
    "openai-chat": (("OPENAI_BASE_URL", "/v1"), "OPENAI_API_KEY"),
    "openai-responses": (("OPENAI_BASE_URL", "/v1"), "OPENAI_API_KEY"),
    "gemini": (("GOOGLE_GEMINI_BASE_URL", ""), "GEMINI_API_KEY"),
}


@dataclass(frozen=True)
class Shell:
    """Runs ``agent.command``; an argument that is exactly ``{prompt}`` becomes the prompt."""

    name: str = "shell"
    programs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    def has_session(self, places: Places) -> bool:
        return False

    def invoke(
        self,
        command: Sequence[str],
        model: ModelAccess | None,
        places: Places,
        *,
        resume: bool,
        prompt: str,
    ) -> Invocation:
        argv = tuple(prompt if word == PROMPT_ARGUMENT else word for word in command)
        return Invocation(argv, model_variables(model) if model else {})

    def transcript(self) -> PlainTranscript:
        return PlainTranscript()


class PlainTranscript:
    """Output that is a log already; the exit code is the outcome."""

    def read(self, line: str) -> list[str]:
        return [line]

    def outcome(self, exit_code: int) -> Outcome:
        return Outcome("success" if exit_code == 0 else "failed")


def model_variables(model: ModelAccess) -> dict[str, str]:
    """Our own variables, and those in which most programs look for an endpoint of this protocol."""
    (name, version), key = _VARIABLES[model.protocol]
    return {
        name: model.base_url + version,
        key: model.key,
        "GUILDNET_MODEL_BASE_URL": model.base_url,
        "GUILDNET_MODEL_NAME": model.name,
        "GUILDNET_MODEL_KEY": model.key,
    }
