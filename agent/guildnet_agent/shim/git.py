"""Runs git in the workspace: local operations only, without hooks, bounded in time.

The command owns these work trees and controls their configuration. That gains it nothing: the shim
runs as the same user and has no credentials.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from guildnet_agent.exchange import write_atomic

_TAIL_CHARACTERS = 500


class GitFailed(Exception):
    """A git command failed; the message contains git's own message."""


class WorkTreeGit:
    """Runs git with its own configuration instead of the user's and the system's."""

    def __init__(
        self, config_file: Path, environ: Mapping[str, str], timeout_seconds: float
    ) -> None:
        # The exchange belongs to another user, which git refuses without this setting. Processes
        # that git starts for a local fetch read it from the global configuration, not from `-c`.
        write_atomic(config_file, b"[safe]\n\tdirectory = *\n")
        self._timeout = timeout_seconds
        kept = {name: environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in environ}
        self._environ = {
            **kept,
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": str(config_file),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file",
        }

    def run(
        self,
        folder: Path,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        input_text: str = "",
        output: BinaryIO | None = None,
    ) -> str:
        """Run git and return its standard output without the last newline. GitFailed on an error.

        ``variables`` are added to git's environment, ``input_text`` is its standard input. With
        ``output``, standard output goes to that file instead.
        """
        command = [
            "git",
            *("-c", "core.hooksPath=/dev/null"),
            *("-c", "core.fsmonitor=false"),
            *("-c", "commit.gpgSign=false"),
            *("-c", "gc.auto=0"),
            *("-c", "advice.detachedHead=false"),
            *arguments,
        ]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**self._environ, **(variables or {})},
                input=input_text.encode(errors="surrogateescape"),
                stdout=output or subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=self._timeout,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise GitFailed(f"git {arguments[0]}: {error}") from error
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()[-_TAIL_CHARACTERS:]
            raise GitFailed(f"git {arguments[0]}: {said or f'exit code {done.returncode}'}")
        return (done.stdout or b"").decode(errors="surrogateescape").rstrip("\n")

    def is_true(
        self,
        folder: Path,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        input_text: str = "",
    ) -> bool:
        """Whether a git command exits with 0."""
        try:
            self.run(folder, *arguments, variables=variables, input_text=input_text)
        except GitFailed:
            return False
        return True

    def remove_stale_locks(self, folder: Path) -> None:
        """Remove lock files that a killed git left: they would block every later git command.

        Call it only when no command runs. GitFailed if the folder is not a repository.
        """
        names = ["index", "HEAD", "config", "packed-refs", "shallow"]
        with contextlib.suppress(GitFailed):  # HEAD is detached
            names.append(self.run(folder, "symbolic-ref", "--quiet", "HEAD"))
        for name in names:
            lock = folder / self.run(folder, "rev-parse", "--git-path", f"{name}.lock")
            lock.unlink(missing_ok=True)
