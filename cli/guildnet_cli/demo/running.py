"""Programs the demo runs to their end, as a person would type them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from guildnet.errors import GuildNetError


def run_program(argv: list[str], environment: Mapping[str, str], text: str | None = None) -> str:
    """Its standard output. Raises GuildNetError with its last words when it fails."""
    done = subprocess.run(
        argv, env=dict(environment), input=text or "", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GuildNetError(
            f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}",
            place=" ".join(argv[:6]),
        )
    return done.stdout
