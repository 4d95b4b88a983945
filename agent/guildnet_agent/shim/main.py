"""The shim's main loop: wait for a job, run its command, hand over the result."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from guildnet.agent_api.state import NOT_STARTED, StartId
from guildnet.errors import ConfigurationError
from guildnet.redact import Redactor
from guildnet_agent.exchange import ARTIFACTS, BEGUN, JOB, RESULT, STOP, write_atomic
from guildnet_agent.job import Job, Result, parse_job, parse_stop, to_json
from guildnet_agent.presets.preset import Outcome
from guildnet_agent.settings import Settings, read_settings
from guildnet_agent.shim.agent_start import AgentStart, plan_start
from guildnet_agent.shim.artifacts import ArtifactCopier, forget_other_runs
from guildnet_agent.shim.checkpoint_timer import CheckpointTimer
from guildnet_agent.shim.command import (
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
    RunningCommand,
    command_environment,
    commit_identity,
)
from guildnet_agent.shim.editor import Editor
from guildnet_agent.shim.git import GitFailed, WorkTreeGit
from guildnet_agent.shim.handover import bundle_work
from guildnet_agent.shim.log import OutputLog
from guildnet_agent.shim.notices import Notices
from guildnet_agent.shim.processes import become_subreaper, end_descendants, reap_orphans
from guildnet_agent.shim.transcript_log import TranscriptLog
from guildnet_agent.shim.verification import (
    MAX_MESSAGE_CHARACTERS,
    TailSink,
    failure_message,
    feedback,
)
from guildnet_agent.shim.workspace import WorkspaceFailed, command_folder, prepare

_PAUSE_SECONDS = 0.2
_ARTIFACT_SECONDS = 1.0
_LEFTOVER_SECONDS = 2.0


@dataclass(frozen=True)
class _JobContext:
    """The job of one start, and its outputs."""

    job: Job
    out: Path
    log: OutputLog
    artifacts: ArtifactCopier


@dataclass(frozen=True)
class _Unverified:
    """Why the work does not pass ``verify``; ``stopped``: it was ended on request."""

    message: str
    output: str = ""
    stopped: bool = False


class Shim:
    """Process 1 of the container ``work``."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._redactor = Redactor(secret_values(environ))
        self._editor = Editor(settings, environ)
        self._git = WorkTreeGit(
            settings.home / ".guildnet" / "gitconfig", environ, settings.git_timeout_seconds
        )
        self._terminating = False
        self._selector = selectors.DefaultSelector()
        self._last = NOT_STARTED
        self._looked_at = 0

    def run(self) -> int:
        """Run jobs until SIGTERM; then end the current command and hand over its work."""
        self._listen_to_signals()
        self._settings.state_dir.mkdir(parents=True, exist_ok=True)
        while not self._terminating:
            job = self._find_job()
            if job:
                self._run_job(job)
            else:
                self._pause()
        self._editor.end()
        return 0

    def _listen_to_signals(self) -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._terminate)

    def _terminate(self, *_: object) -> None:
        self._terminating = True

    def _pause(self, *, known: frozenset[int] = frozenset()) -> None:
        """Wait for a signal or output; keep the editor running; reap orphans."""
        for key, _ in self._selector.select(_PAUSE_SECONDS):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 4096)
                reap_orphans(known | self._spare())
        if line := self._editor.tick():
            print(f"guildnet: {line}", flush=True)

    def _spare(self) -> frozenset[int]:
        return frozenset({self._editor.pid}) if self._editor.pid else frozenset()

    def _find_job(self) -> Job | None:
        """The job in the exchange, unless this process has already run it."""
        path = self._settings.exchange_in / JOB
        try:
            written = path.stat().st_mtime_ns
            if written == self._looked_at:
                return None
            job = parse_job(path.read_bytes())
        except FileNotFoundError:
            return None
        self._looked_at = written
        return job if job.id > self._last else None

    def _is_to_stop(self, start: StartId) -> bool:
        if self._terminating:
            return True
        try:
            stop = parse_stop((self._settings.exchange_in / STOP).read_bytes())
        except FileNotFoundError:
            return False
        # The stop request of a later start counts too: it replaced the one for this start.
        return stop.id >= start

    def _run_job(self, job: Job) -> None:
        self._last = job.id
        out = self._settings.exchange_out / job.id.folder
        if (out / RESULT).exists():
            return
        out.mkdir(parents=True, exist_ok=True)
        # The gateway's key works only in this pod and for this start, but is masked all the same.
        own = [job.model.key] if job.model else []
        redactor = Redactor([*secret_values(self._environ), *own]) if own else self._redactor
        log = OutputLog(out, redactor, sys.stdout.buffer)
        copier = ArtifactCopier(self._settings.state_dir, out / ARTIFACTS, redactor)
        ctx = _JobContext(job, out, log, copier)
        if job.has_begun or (out / BEGUN).exists():
            log.note(f"this container restarted during {job.id}; its command is not run again")
            result = Result(job.id, interrupted=True, finished_at=_now())
        else:
            result = self._begin(ctx)
        self._hand_over(ctx, result)

    def _begin(self, ctx: _JobContext) -> Result:
        """Prepare the workspace and run the command."""
        job = ctx.job
        try:
            forget_other_runs(self._settings.state_dir, job.trailer)
            folder = prepare(job, self._settings, self._git, ctx.log)
            prompt_file = self._settings.home / ".guildnet" / "prompt"
            write_atomic(prompt_file, job.prompt.encode())
            start = plan_start(job, self._settings, prompt_file)
            start.write_files()
        except (WorkspaceFailed, ConfigurationError, OSError) as error:
            ctx.log.note(str(error))
            return Result(job.id, failure=self._redactor(str(error)), finished_at=_now())
        if self._is_to_stop(job.id):
            return Result(job.id, stopped=True, finished_at=_now())
        began = _now()
        write_atomic(ctx.out / BEGUN, json.dumps({**asdict(job.id), "at": began}).encode())
        result = self._run(ctx, start, folder, began)
        for rounds_left in reversed(range(job.verify.rounds + 1 if job.verify else 0)):
            if result.stopped or not _has_succeeded(result):
                return result
            verified = self._verify(ctx, folder)
            if verified is None:
                return replace(result, finished_at=_now())
            if verified.stopped or not rounds_left:
                return replace(
                    result,
                    exit_code=None if verified.stopped else result.exit_code,
                    stopped=verified.stopped,
                    outcome=None if verified.stopped else Outcome("unverified", verified.message),
                    finished_at=_now(),
                )
            ctx.log.note(f"{verified.message}; the agent is given its output")
            try:
                again = feedback(verified.message, verified.output)
                start = plan_start(job, self._settings, prompt_file, again)
                start.write_files()
            except OSError as error:
                ctx.log.note(str(error))
                return replace(result, outcome=Outcome("unverified", verified.message))
            result = self._run(ctx, start, folder, began)
        return result

    def _verify(self, ctx: _JobContext, folder: Path) -> _Unverified | None:
        """Run the task's ``verify`` command; None if the work passes it."""
        job = ctx.job
        assert job.verify is not None
        sink = TailSink(ctx.log)
        ctx.log.note(f"verify: {' '.join(job.verify.command)[:MAX_MESSAGE_CHARACTERS]}")
        environ = command_environment(
            self._environ, job, self._settings, self._settings.home / ".guildnet" / "prompt"
        )
        try:
            command = RunningCommand.begin(job.verify.command, environ, folder, sink)
        except OSError as error:
            text = f"cannot run {job.verify.command[0]}: {error.strerror}"
            ctx.log.note(text)
            return _Unverified(text)
        stopped = self._follow_command(
            ctx, command, CheckpointTimer(job, self._settings, self._environ, ctx.log)
        )
        code = command.poll()
        if code == 0 and not stopped:
            return None
        message = failure_message(job.verify.command, code if code is not None else 137)
        return _Unverified(message, sink.tail, stopped)

    def _run(self, ctx: _JobContext, start: AgentStart, folder: Path, began: str) -> Result:
        """Run the command until it ends."""
        job, invocation = ctx.job, start.invocation
        asked = job if start.resumes else replace(job, prompt=start.prompt)
        environ = command_environment(self._environ, asked, self._settings, start.prompt_file)
        transcript = start.preset.transcript()
        # The output of a plain command is logged as it comes, incomplete lines too.
        sink = TranscriptLog(ctx.log, transcript) if start.preset.programs else ctx.log
        if start.resumes:
            ctx.log.note(f"{start.preset.name} continues the session of an earlier start")
        try:
            command = RunningCommand.begin(
                invocation.argv,
                start.environment(environ),
                folder,
                sink,
                invocation.stdin,
            )
        except OSError as error:
            ctx.log.note(f"{_cannot_run(start, error)}{_hint(error)}")
            missing = isinstance(error, FileNotFoundError)
            unable = EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE
            return Result(job.id, exit_code=unable, started_at=began, finished_at=_now())
        checkpoints = CheckpointTimer(job, self._settings, self._environ, ctx.log)
        stopped = self._follow_command(ctx, command, checkpoints)
        code = None if stopped else command.poll()
        return Result(
            job.id,
            exit_code=code,
            stopped=stopped,
            started_at=began,
            finished_at=_now(),
            outcome=None if code is None else transcript.outcome(code),
        )

    def _follow_command(
        self, ctx: _JobContext, command: RunningCommand, checkpoints: CheckpointTimer
    ) -> bool:
        """Wait until the command has ended; True if it was stopped on request."""
        self._selector.register(command.output, selectors.EVENT_READ, "output")
        is_open, stopped, next_copy = True, False, 0.0
        notices = Notices(self._settings.exchange_in, ctx.log)
        while command.poll() is None and not stopped:
            self._pause(known=frozenset({command.pid}) | checkpoints.pids)
            if is_open and not command.drain():
                self._selector.unregister(command.output)
                is_open = False
            if time.monotonic() >= next_copy:
                ctx.artifacts.copy_changed()
                next_copy = time.monotonic() + _ARTIFACT_SECONDS
            checkpoints.tick()
            notices.tick()
            stopped = command.poll() is None and self._is_to_stop(ctx.job.id)
        if is_open:
            self._selector.unregister(command.output)
        # Processes that the command left running could change the work while it is bundled.
        left = command.end(self._spare())
        if left:
            ctx.log.note(f"{len(left)} processes could not be ended")
        checkpoints.close()
        command.close()
        notices.tick()
        return stopped

    def _hand_over(self, ctx: _JobContext, result: Result) -> None:
        """Write artifacts, bundle and, last, the result: once it exists, the rest is complete."""
        ctx.artifacts.copy_changed()
        job = ctx.job
        if command_folder(job, self._settings.workspace).exists():
            defaults = commit_identity(job)
            identity = {name: self._environ.get(name, defaults[name]) for name in defaults}
            try:
                work = bundle_work(job, self._settings.workspace, ctx.out, self._git, identity)
                result = replace(result, tip=work.tip, base=work.base, notes=work.notes)
                for line in work.notes:
                    ctx.log.note(line)
            except (GitFailed, OSError) as error:
                ctx.log.note(f"the work could not be bundled: {error}")
                result = replace(result, unbundled=self._redactor(str(error)))
        # git runs filters that the work tree configures: end their processes too.
        spare = self._spare()
        end_descendants(spare, spare, grace=_LEFTOVER_SECONDS, tick=lambda: None)
        ctx.log.flush()
        write_atomic(ctx.out / RESULT, to_json(result))


def _has_succeeded(result: Result) -> bool:
    return result.exit_code == 0 and (result.outcome is None or result.outcome.is_success)


def _hint(error: OSError) -> str:
    too_long = "; shorten the command line: the prompt is also in $GUILDNET_PROMPT_FILE"
    return too_long if error.errno == errno.E2BIG else ""


def secret_values(environ: Mapping[str, str]) -> list[str]:
    """The values to mask in the log: those of the variables in GUILDNET_REDACT, and the editor's
    password."""
    names = [name.strip() for name in environ.get("GUILDNET_REDACT", "").split(",")]
    return [environ[name] for name in [*names, "PASSWORD"] if environ.get(name)]


def _cannot_run(start: AgentStart, error: OSError) -> str:
    program = start.invocation.argv[0]
    text = f"cannot run {program}: {error.strerror}"
    if program in start.preset.programs and isinstance(error, FileNotFoundError):
        text += f"; preset {start.preset.name} needs it in the task's image (agent.image)"
    return text


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def main() -> int:
    """Entry point of ``python3 -m guildnet_agent.shim``."""
    os.umask(0o022)
    become_subreaper()
    return Shim(read_settings(os.environ), os.environ).run()
