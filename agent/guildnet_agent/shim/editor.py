"""The editor beside the command: started with the pod, started again when it dies."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping

from guildnet_agent.exchange import open_anew
from guildnet_agent.settings import Settings

LOG = "editor.log"
"""What the editor says, below `~/.guildnet`; of its latest start."""

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_STEADY_SECONDS = 60.0


def editor_command(settings: Settings) -> list[str]:
    """The editor's program and arguments; its password comes by the environment (PASSWORD)."""
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
    """Keeps one editor process up, with growing pauses between starts that fail."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = _FIRST_PAUSE_SECONDS
        self._next_start = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def tick(self) -> str | None:
        """Start the editor where it is due; a line to log when something happened."""
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
            self._pause = _FIRST_PAUSE_SECONDS
        return f"the editor ended with {code} (see ~/.guildnet/{LOG}); {self._put_off(now)}"

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
            # Beside the container's output, which is the command's own.
            with open(open_anew(log), "wb") as output:
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
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        self._next_start = now + pause
        return f"next try in {pause:.0f} s"
