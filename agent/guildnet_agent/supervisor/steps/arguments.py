"""The limit on the size of a command-line argument. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from guildnet.errors import ConfigurationError

PROMPT_ARGUMENT = "{prompt}"
#: Linux takes no single argument of 128 KiB, its end included (MAX_ARG_STRLEN).
MAX_ARGUMENT_BYTES = 128 * 1024 - 1


def check_arguments(command: Sequence[str], prompt: str) -> None:
    """Raise ConfigurationError for an argument that is too long to start a program with."""
    for argument in command:
        size = len((prompt if argument == PROMPT_ARGUMENT else argument).encode(errors="replace"))
        if size <= MAX_ARGUMENT_BYTES:
            continue
        is_prompt = argument == PROMPT_ARGUMENT or prompt in argument
        raise ConfigurationError(
            f"{'the prompt' if is_prompt else 'an argument'} has {size} bytes, and one argument "
            f"can have at most {MAX_ARGUMENT_BYTES}",
            place="agent.command",
            cure="let the command read the file $GUILDNET_PROMPT_FILE instead of {prompt}"
            if is_prompt
            else "put it into a context of kind text, which is a file in the workspace",
        )
