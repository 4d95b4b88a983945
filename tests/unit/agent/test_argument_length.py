"""A prompt too long for the command line fails early, and the message says what to do (I10)."""

from __future__ import annotations

import pytest

from guildnet.errors import ConfigurationError
from guildnet_agent.supervisor.steps.arguments import MAX_ARGUMENT_BYTES, check_arguments


@pytest.mark.parametrize("letter", ["a", "字", "😀"])
def test_the_prompt_is_limited_in_bytes(letter: str) -> None:
    fits = letter * (MAX_ARGUMENT_BYTES // len(letter.encode()))
    check_arguments(["agent", "{prompt}"], fits)
    with pytest.raises(ConfigurationError, match=r"\$GUILDNET_PROMPT_FILE") as failed:
        check_arguments(["agent", "{prompt}"], fits + letter)
    assert failed.value.place == "agent.command"


def test_a_long_prompt_in_its_file_is_accepted() -> None:
    check_arguments(["sh", "-c", 'agent "$GUILDNET_PROMPT_FILE"'], "字" * 65_536)


def test_other_arguments_are_limited_too() -> None:
    with pytest.raises(ConfigurationError, match="context of kind text"):
        check_arguments(["sh", "-c", "x" * 200_000], "short")
