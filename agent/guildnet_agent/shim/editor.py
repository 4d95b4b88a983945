"""The editor, a process beside the command: started with the pod, restarted when it exits."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from datetime import timedelta

from guildnet.backoff import Backoff
from guildnet_agent.exchange import open_new
from guildnet_agent.settings import Settings

LOG = "editor.log"
"""The output of the editor's latest start, in `~/.guildnet`."""

_BACKOFF = Backoff(first=timedelta(seconds=1), longest=timedelta(seconds=30))
_STEADY_SECONDS = 60.0


def editor_command(settings: Settings) -> list[str]:
    """The editor's program and arguments; it reads its password from the variable PASSWORD."""
    command = [
        settings.editor_program,
        "--bind-addr",
        f"0.0.0.0:{settings.editor_port}",
        "--auth",
        "password",
        "--disable-telemetry",
        "--disable-update-check",
        "--disable-workspace-trust",
    ]
    if settings.editor_suffix:
        command += ["--cookie-suffix", settings.editor_suffix]
    return [*command, str(settings.workspace)]


class Editor:
    """Keeps one editor process running, with a back-off between starts that fail."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._next_start = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def tick(self) -> str | None:
        """Start the editor if it is due. Return a line to log if its state changed."""
        now = time.monotonic()
        if not self._settings.editor:
            return None
        if self._process is None:
            return self._start(now) if now >= self._next_start else None
        code = self._process.poll()
        if code is None:
            return None
        self._process = None
        if now - self._started > _STEADY_SECONDS:
            self._failures = 0
        return f"the editor exited with {code} (see ~/.guildnet/{LOG}); {self._put_off(now)}"

    def end(self) -> None:
        """SIGTERM; SIGKILL after two seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self, now: float) -> str | None:
        log = self._settings.home / ".guildnet" / LOG
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            # The container's own output belongs to the command.
            with open(open_new(log), "wb") as output:
                self._process = subprocess.Popen(
                    editor_command(self._settings),
                    env=self._environ,
                    cwd=self._settings.workspace,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            return f"the editor cannot start: {error.strerror}; {self._put_off(now)}"
        self._started = now
        return None

    def _put_off(self, now: float) -> str:
        self._failures += 1
        pause = _BACKOFF.pause(self._failures).total_seconds()
        self._next_start = now + pause
        return f"retrying in {pause:.0f} s"
