"""Runs the real `talosctl` for the machines of a site, with the site's own credentials."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from guildnet.errors import GuildNetError

#: None of these commands waits longer by itself, except `health`, which has its own timeout.
_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Talosctl:
    """A talosctl whose files are in `folder`, readable only by their owner."""

    program: Path
    folder: Path

    @property
    def config(self) -> Path:
        """The client's configuration, with the administrator's certificate."""
        return self.folder / "talosconfig"

    def run(self, *arguments: str) -> str:
        """Run a command and return its output. Raises GuildNetError with its errors."""
        done = self.attempt(*arguments)
        if done.returncode != 0:
            raise GuildNetError(
                f"`talosctl {arguments[0]}` failed: {done.stderr.strip()[:600]}",
                place=str(self.folder),
                cure="Read the machines' logs in the folder logs beside it, then run up again.",
            )
        return done.stdout

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        command = [str(self.program), *arguments]
        # Some commands write keys to files that everybody may read.
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "TALOSCONFIG": str(self.config)},
            capture_output=True,
            check=False,
            text=True,
            timeout=_SECONDS,
            umask=0o077,
        )
