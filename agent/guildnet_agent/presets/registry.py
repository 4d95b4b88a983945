"""The presets by name, and what a task must give for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from guildnet.errors import ConfigurationError
from guildnet_agent.presets.claude_code import ClaudeCode
from guildnet_agent.presets.codex import Codex
from guildnet_agent.presets.gemini import Gemini
from guildnet_agent.presets.opencode import OpenCode
from guildnet_agent.presets.pi import Pi
from guildnet_agent.presets.preset import Preset
from guildnet_agent.presets.shell import Shell

_ALL: tuple[Preset, ...] = (Shell(), ClaudeCode(), Codex(), Pi(), Gemini(), OpenCode())
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
DEFAULT_PRESET = "shell"


def find_preset(name: str | None) -> Preset:
    """ConfigurationError lists the known ones."""
    preset = PRESETS.get(name or DEFAULT_PRESET)
    if preset is None:
        raise ConfigurationError(
            f"unknown preset {name!r}",
            place="agent.preset",
            cure=f"use one of: {', '.join(PRESETS)}",
        )
    return preset


def check_preset(
    name: str | None, command: Sequence[str] | None, offered: Sequence[str] | None
) -> Preset:
    """The preset, if the task gives what it needs. ConfigurationError.

    ``offered`` are the protocols of the task's model, None where it has no model.
    """
    preset = find_preset(name)
    if preset.protocols:
        _check_model(preset, offered)
    elif not command:
        raise ConfigurationError(
            f"preset {preset.name!r} runs a command, and the task gives none",
            place="agent.command",
            cure="set agent.command in the task or the org",
        )
    return preset


def _check_model(preset: Preset, offered: Sequence[str] | None) -> None:
    spoken = ", ".join(preset.protocols)
    if offered is None:
        raise ConfigurationError(
            f"preset {preset.name!r} needs a model, and the task has none",
            place="agent.model",
            cure=f"add a model that speaks {spoken} to the org's models",
        )
    if not set(preset.protocols) & set(offered):
        raise ConfigurationError(
            f"preset {preset.name!r} speaks {spoken}, and the task's model {', '.join(offered)}",
            place="agent.model",
            cure="name a model with a fitting protocol, or another preset",
        )
