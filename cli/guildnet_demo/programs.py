"""Run a program to its end, as a person would from a shell."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from guildnet.errors import GuildNetError


def run_program(argv: list[str], environment: Mapping[str, str], text: str | None = None) -> str:
    """Return its standard output. Raises GuildNetError with the end of its output if it fails."""
    done = subprocess.run(
        argv, env=dict(environment), input=text or "", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GuildNetError(
            f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}",
            place=" ".join(argv[:6]),
        )
    return done.stdout
