"""How each coding agent is called: one `Preset` each, found by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from guildnet.errors import ConfigurationError


@dataclass(frozen=True)
class Preset:
    """A way to call a coding agent.

    ``command`` is used when the task gives none; empty means that the task must give one. An
    argument that is exactly ``{prompt}`` becomes the prompt.
    """

    name: str
    command: tuple[str, ...] = ()


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.name: preset for preset in (Preset(name="shell"),)}
)
DEFAULT_PRESET = "shell"


def resolve_command(preset_name: str | None, command: Sequence[str] | None) -> tuple[str, ...]:
    """The program and arguments to run, ``{prompt}`` still in it; ConfigurationError if none."""
    preset = PRESETS.get(preset_name or DEFAULT_PRESET)
    if preset is None:
        raise ConfigurationError(
            f"there is no preset {preset_name!r}",
            place="agent.preset",
            cure=f"use one of: {', '.join(PRESETS)}",
        )
    argv = tuple(command or preset.command)
    if not argv:
        raise ConfigurationError(
            f"preset {preset.name!r} runs a command, and the task gives none",
            place="agent.command",
            cure="set agent.command in the task or the org",
        )
    return argv
