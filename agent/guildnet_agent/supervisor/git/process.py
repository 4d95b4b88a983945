"""Runs git for the supervisor: own configuration only, no prompts, bounded time and output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from guildnet.errors import GitError, GitUnavailable
from guildnet.git.failures import Cause, cause_of
from guildnet.git.process import configured, isolated_environment
from guildnet.redact import Redactor, strip_urls
from guildnet_agent.supervisor.git.credentials import Credentials, ssh_command

_MAX_OUTPUT_BYTES = 4 * 1024 * 1024
_MAX_SAID_CHARACTERS = 600
_PIECE_BYTES = 64 * 1024
# The command's work is untrusted: no hooks, no submodules, and bounded memory.
_CONFIGURATION = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "safe.directory": "*",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "credential.helper": "",
    "http.followRedirects": "initial",
    "push.followTags": "false",
    "protocol.version": "2",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    # What git may hold in memory besides the one or two objects it works on.
    "core.bigFileThreshold": "32m",
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "128m",
    "core.deltaBaseCacheLimit": "32m",
    "pack.windowMemory": "32m",
    "pack.threads": "1",
}

_CURES = {
    Cause.HOST_KEY: (
        "the host's key is not among known_hosts of the git Secret: "
        "ask the host's administrator for its key and add it there"
    ),
    Cause.CERTIFICATE: (
        "put the certificate of the host's authority into ca.crt of the git Secret"
    ),
    Cause.KEY_REFUSED: (
        "add the public half of the git Secret's key to the repository's deploy keys"
    ),
    Cause.KEY_UNREADABLE: (
        "ssh cannot read ssh-privatekey of the git Secret: "
        "store an OpenSSH private key without a passphrase"
    ),
}


class GitFailed(GitError):
    """git failed; `said` is its whole error output with secrets masked."""

    def __init__(self, message: str, *, cure: str | None, said: str) -> None:
        super().__init__(message, cure=cure)
        self.said = said


@dataclass(frozen=True)
class GitRunner:
    """Runs git; ``scratch`` is its HOME and its default working directory."""

    scratch: Path
    timeout_seconds: float
    redact: Redactor = field(default_factory=lambda: Redactor([]), repr=False)

    async def run(
        self,
        *arguments: str,
        folder: Path | None = None,
        credentials: Credentials | None = None,
        stdin: BinaryIO | None = None,
    ) -> str:
        """Run git and return up to 4 MiB of its standard output. GitUnavailable or GitError, with
        git's own message, redacted."""
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            cwd=folder or self.scratch,
            env=self._environ(folder or self.scratch, credentials),
            stdin=stdin or asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(self.timeout_seconds):
                output, said = await asyncio.gather(_read(process.stdout), _read(process.stderr))
                await process.wait()
        except TimeoutError as error:
            raise GitUnavailable(
                f"git {arguments[0]} took longer than {self.timeout_seconds:.0f} s"
            ) from error
        finally:
            await _end(process)
        if process.returncode != 0:
            raise self._error(arguments[0], said)
        return output.decode(errors="replace")

    def _environ(self, folder: Path, credentials: Credentials | None) -> dict[str, str]:
        return {
            **isolated_environment(folder),
            **configured(_CONFIGURATION),
            "HOME": str(self.scratch),
            "XDG_CONFIG_HOME": str(self.scratch),
            "GIT_ALLOW_PROTOCOL": "http:https:ssh",
            "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
            "GIT_HTTP_LOW_SPEED_TIME": "60",
            "GIT_SSH_COMMAND": ssh_command(),
            **(credentials.environ if credentials else {}),
        }

    def _error(self, verb: str, said: bytes) -> GitError:
        lines = said.decode(errors="replace").strip().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("@@@"))  # ssh's banners
        shown = self.redact(strip_urls(text))[-_MAX_SAID_CHARACTERS:] or "no message"
        message = f"git {verb}: {shown}"
        if cause_of(text).passes:
            return GitUnavailable(message, cure=cure_for(text))
        return GitFailed(message, cure=cure_for(text), said=self.redact(text))


def cure_for(said: str) -> str | None:
    """How a person can fix a host key, certificate or ssh key that was refused."""
    return _CURES.get(cause_of(said))


async def _read(stream: asyncio.StreamReader) -> bytes:
    """Read the stream to its end; keep only the first 4 MiB."""
    kept = bytearray()
    while piece := await stream.read(_PIECE_BYTES):
        kept += piece[: _MAX_OUTPUT_BYTES - len(kept)]
    return bytes(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill git and the helpers that it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
