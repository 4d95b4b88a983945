"""git in the workspace, as the shim runs it: locally, without hooks, bounded in time.

The command owns these trees and can put what it likes into their configuration; the shim is of
the same trust domain and holds nothing that it could gain.
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
    """A git command failed; the message ends with what it said."""


class WorkTreeGit:
    """Runs git with a configuration of our own instead of the user's and the system's."""

    def __init__(
        self, config_file: Path, environ: Mapping[str, str], timeout_seconds: float
    ) -> None:
        # The exchange belongs to another user, which git refuses without this; `-c` does not
        # reach the processes that git starts for a local fetch, a global configuration does.
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
        words: str = "",
        output: BinaryIO | None = None,
    ) -> str:
        """Standard output without its last newline; GitFailed for any other exit than 0.

        ``variables`` are added to git's environment, ``words`` are its standard input; with
        ``output`` what it writes goes there and not into memory.
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
                input=words.encode(errors="surrogateescape"),
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
        words: str = "",
    ) -> bool:
        """Whether a git command that answers by its exit code says yes."""
        try:
            self.run(folder, *arguments, variables=variables, words=words)
        except GitFailed:
            return False
        return True

    def remove_stale_locks(self, folder: Path) -> None:
        """Remove what a git that was killed has left locked: the work would else go nowhere.

        To be called when nothing but the editor runs. GitFailed where there is no repository.
        """
        names = ["index", "HEAD", "config", "packed-refs", "shallow"]
        with contextlib.suppress(GitFailed):  # on no branch
            names.append(self.run(folder, "symbolic-ref", "--quiet", "HEAD"))
        for name in names:
            lock = folder / self.run(folder, "rev-parse", "--git-path", f"{name}.lock")
            lock.unlink(missing_ok=True)
