"""The command: its environment, and starting, reading and ending it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from guildnet_agent.job import Job
from guildnet_agent.settings import Settings
from guildnet_agent.shim.processes import end_descendants

# The kernel refuses a single argument or variable of 128 KiB (MAX_ARG_STRLEN).
_MAX_VARIABLE_BYTES = 100 * 1024
_PIECE_BYTES = 64 * 1024
# A command must end within 20 s: half of that after SIGTERM, half after SIGKILL.
_GRACE_SECONDS = 9.0
_NOT_FOR_COMMAND = ("PASSWORD", "GUILDNET_REDACT", "GUILDNET_EDITOR", "GUILDNET_EDITOR_SUFFIX")
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class OutputSink(Protocol):
    """Where the command's output goes."""

    def write(self, data: bytes) -> None: ...
    def flush(self) -> None: ...


def command_environment(
    environ: Mapping[str, str], job: Job, settings: Settings, prompt_file: Path
) -> dict[str, str]:
    """The container's environment without the editor's variables, plus those of the job."""
    result = {name: value for name, value in environ.items() if name not in _NOT_FOR_COMMAND}
    _drop_own_packages(result)
    result |= {
        "GUILDNET_RUN": str(job.id.run),
        "GUILDNET_ATTEMPT": str(job.id.attempt),
        "GUILDNET_PROMPT_FILE": str(prompt_file),
        "GUILDNET_WORKSPACE": str(settings.workspace),
        "GUILDNET_STATE": str(settings.state_dir),
    }
    if len(job.prompt.encode()) <= _MAX_VARIABLE_BYTES:
        result["GUILDNET_PROMPT"] = job.prompt
    for name, value in commit_identity(job).items():
        result.setdefault(name, value)
    result.setdefault("GIT_TERMINAL_PROMPT", "0")
    return result


def commit_identity(job: Job) -> dict[str, str]:
    """The default author and committer, as variables of git; the task may set its own."""
    return {
        "GIT_AUTHOR_NAME": job.author_name,
        "GIT_AUTHOR_EMAIL": job.author_email,
        "GIT_COMMITTER_NAME": job.author_name,
        "GIT_COMMITTER_EMAIL": job.author_email,
    }


class RunningCommand:
    """A running command."""

    def __init__(self, process: subprocess.Popen[bytes], log: OutputSink) -> None:
        assert process.stdout is not None
        self._process = process
        self._log = log
        self.output = process.stdout.fileno()
        os.set_blocking(self.output, False)

    @classmethod
    def begin(
        cls,
        command: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        log: OutputSink,
        stdin: Path | None = None,
    ) -> RunningCommand:
        """Start a command. ``stdin`` is a file; None: standard input is empty. Raises OSError."""
        with open(stdin or os.devnull, "rb") as given:
            process = subprocess.Popen(
                command,
                env=dict(environ),
                cwd=folder,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code once the command has ended; 128 + N if signal N ended it."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def drain(self) -> bool:
        """Log the command's output; False once no process holds its output open."""
        for _ in range(16):
            try:
                piece = os.read(self.output, _PIECE_BYTES)
            except BlockingIOError:
                return True
            if not piece:
                return False
            self._log.write(piece)
        return True

    def end(self, spare: Collection[int]) -> list[int]:
        """End the command and all its descendants within 20 s; return pids that are still alive."""
        left = end_descendants(spare, {self.pid, *spare}, grace=_GRACE_SECONDS, tick=self._tick)
        self._tick()
        self._log.flush()
        return left

    def close(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _tick(self) -> None:
        self.drain()
        self.poll()


def _drop_own_packages(environ: dict[str, str]) -> None:
    """Remove the shim's own entry from PYTHONPATH: it could shadow the command's packages."""
    own = str(Path(__file__).resolve().parents[2])
    entries = [
        entry for entry in environ.get("PYTHONPATH", "").split(":") if entry not in ("", own)
    ]
    environ.pop("PYTHONPATH", None)
    if entries:
        environ["PYTHONPATH"] = ":".join(entries)
