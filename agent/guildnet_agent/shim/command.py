"""The command: its arguments and environment, its start, its output, its end."""

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
# Half of the 20 s in which a command must be gone: once for SIGTERM, once for SIGKILL.
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
    """The container's environment without the editor's part of it, and with the job."""
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
    """git's variables for author and committer, where the task's own environment sets none."""
    return {
        "GIT_AUTHOR_NAME": job.author_name,
        "GIT_AUTHOR_EMAIL": job.author_email,
        "GIT_COMMITTER_NAME": job.author_name,
        "GIT_COMMITTER_EMAIL": job.author_email,
    }


class RunningCommand:
    """A command under way. OSError from `begin` when it cannot be executed."""

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
        """``stdin`` is a file; without one the command's standard input is empty."""
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
        """The exit code once it ended: 128 + the number of the signal that ended it."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def drain(self) -> bool:
        """Log what it wrote; False once nobody holds its output open any more."""
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
        """End it and all it started, within 20 s; the pids that would not go."""
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
    """The shim's own place on PYTHONPATH must not shadow what the command imports."""
    own = str(Path(__file__).resolve().parents[2])
    entries = [
        entry for entry in environ.get("PYTHONPATH", "").split(":") if entry not in ("", own)
    ]
    environ.pop("PYTHONPATH", None)
    if entries:
        environ["PYTHONPATH"] = ":".join(entries)
