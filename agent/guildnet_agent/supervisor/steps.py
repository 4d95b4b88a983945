"""The steps of a start: Preparing, Running, Publishing, then Finished or Stopped.

Each step is written to the journal before the next begins, so that a restarted supervisor goes on
with the step it was in: contexts are read again, a command under way is waited for, never run
again, and publishing finds what it did already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guildnet.errors import (
    ConfigurationError,
    ForgeRefused,
    ForgeUnavailable,
    GitError,
    GitUnavailable,
    PushRejected,
)
from guildnet.redact import Redactor
from guildnet.units import rfc3339
from guildnet_agent.exchange import (
    BEGUN,
    BUNDLE,
    JOB,
    MAX_RESULT_BYTES,
    RESULT,
    STOP,
    ExchangeRefused,
    Job,
    Result,
    StartId,
    Stop,
    copy_regular,
    parse_result,
    read_regular,
    to_json,
    write_atomic,
)
from guildnet_agent.presets import resolve_command
from guildnet_agent.supervisor.collect import LAST_PR, LAST_RUN, ArtifactStore, read_log
from guildnet_agent.supervisor.contexts import (
    ContextFailed,
    ContextSource,
    WorkBranch,
    prepare_contexts,
)
from guildnet_agent.supervisor.journal import Journal
from guildnet_agent.supervisor.progress import (
    Progress,
    dump_state,
    ended_data,
    recover,
    told_data,
)
from guildnet_agent.supervisor.publish import (
    Publication,
    Target,
    Work,
    choose_branch,
    publish,
    read_target,
    save,
)
from guildnet_agent.supervisor.state import (
    MAX_TAIL_BYTES,
    AgentState,
    ContextProgress,
    Failure,
    Outcome,
    Published,
    StateBoard,
    Step,
)
from guildnet_agent.supervisor.task import Spec, author
from guildnet_agent.supervisor.verdict import judge, last_run

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_COLLECT_EVERY = 5  # polls
_FIRST_RETRY_SECONDS = 2.0
_LONGEST_RETRY_SECONDS = 300.0
_SAVE_SECONDS = 60.0
# The shim ends the command within 20 s and bundles after that.
_STOP_SECONDS = 60.0


class StartRefused(Exception):
    """Another start is under way, or this one is older than one that was seen."""


class _Stopped(Exception):
    """Told to stop before the command began."""


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True)
class Desk:
    """What the steps work with."""

    source: ContextSource
    journal: Journal
    store: ArtifactStore
    board: StateBoard
    redact: Redactor

    @property
    def exchange_in(self) -> Path:
        return self.source.settings.exchange_in

    @property
    def exchange_out(self) -> Path:
        return self.source.settings.exchange_out

    @property
    def bundle(self) -> Path:
        """Our own copy of the work side's bundle."""
        return self.source.settings.home / ".guildnet" / BUNDLE


class Steps:
    """Carries out one start at a time."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._board = desk.board
        self._stopping = asyncio.Event()
        self._stop_reason = ""
        self._task: asyncio.Task[None] | None = None

    def resume(self) -> None:
        """Go on with what the journal tells of, if anything."""
        progress = recover(self._desk.journal.read())
        if progress is None:
            return
        if progress.final is not None:
            self._board.show(progress.final)
            return
        self._begin(progress)

    def start(self, start: StartId, spec: Spec) -> None:
        """Take up a start; again for the same one is the same. StartRefused otherwise."""
        current = self._board.state
        if start == current.id:
            return
        if not current.is_over:
            raise StartRefused(f"{current.id} is under way")
        if start < current.id:
            raise StartRefused(f"{start} is older than {current.id}")
        self._desk.journal.begin(start, {"spec": dict(spec)})
        self._begin(Progress(start, spec))

    def stop(self, reason: str) -> None:
        """End what is under way: the command within 20 s, its work pushed."""
        if not self._board.state.is_over:
            log.info("stopping: %s", reason)
            self._stop_reason = reason
            self._stopping.set()

    async def wait(self) -> None:
        """Until nothing is under way."""
        if self._task:
            await asyncio.wait([self._task])

    def _begin(self, progress: Progress) -> None:
        self._stopping.clear()
        names = [str(item["name"]) for item in progress.spec.get("context", ())]
        is_prepared = "Ready" if progress.job else "Pending"
        contexts = tuple(ContextProgress(name, is_prepared) for name in names)  # type: ignore[arg-type]
        serving = self._board.state.editor_serving
        state = AgentState(progress.id, "Preparing", contexts=contexts, editor_serving=serving)
        if progress.job:
            state = replace(state, step="Running", started_at=progress.running_since)
        self._board.show(state)
        self._task = asyncio.create_task(self._carry_out(progress))

    async def _carry_out(self, progress: Progress) -> None:
        try:
            if progress.job is None:
                self._desk.store.clear()
                progress = await self._unless_stopped(self._prepare(progress))
            if progress.result is None:
                progress = await self._attend(progress)
            await self._conclude(progress)
        except _Stopped:
            self._finish("Stopped", "Stopped", None)
        except _Failed as failed:
            self._finish("Finished", "Failed", failed.failure)
        except Exception as error:
            # A mistake of ours must end in a state that says so, not in silence.
            log.exception("the supervisor failed")
            text = self._desk.redact(f"{type(error).__name__}: {error}")
            self._finish("Finished", "Failed", Failure("SupervisorFailed", text, True))

    async def _unless_stopped(self, work: Coroutine[Any, Any, Progress]) -> Progress:
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _Stopped
            return task.result()
        finally:
            for one in (task, stopping):
                one.cancel()
            await asyncio.wait([task, stopping])

    # Preparing

    async def _prepare(self, progress: Progress) -> Progress:
        """Contexts in the exchange, then the job: from there on the shim may run the command."""
        spec, source = progress.spec, self._desk.source
        agent = spec.get("agent", {})
        try:
            command = resolve_command(agent.get("preset"), agent.get("command"))
            target = read_target(spec, progress.id.run, source)
        except ConfigurationError as error:
            reason = "InvalidSpec" if error.place else "ContextFailed"
            raise _Failed(Failure(reason, self._desk.redact(str(error)))) from error
        try:
            target = target and await choose_branch(target, spec.get("continues"))
            contexts = await prepare_contexts(
                list(spec.get("context", ())),
                target.context if target else None,
                target.branch if target else None,
                source,
                self._report_context,
            )
        except ContextFailed as error:
            failure = Failure("ContextFailed", self._desk.redact(str(error)), error.infrastructure)
            raise _Failed(failure) from error
        except (ForgeUnavailable, ForgeRefused) as error:
            failure = Failure("ForgeRefused", str(error), isinstance(error, ForgeUnavailable))
            raise _Failed(failure) from error
        name, email = author(spec)
        job = Job(
            id=progress.id,
            command=command,
            prompt=str(spec["prompt"]),
            contexts=contexts,
            publish=target.context if target else None,
            trailer=source.task.trailer(progress.id.run),
            author_name=name,
            author_email=email,
        )
        branch = target.branch if target else None
        told = told_data(job, branch.name if branch else None, bool(branch and branch.may_continue))
        self._desk.journal.append("told", progress.id, told)
        write_atomic(self._desk.exchange_in / JOB, to_json(job))
        return replace(progress, job=job, branch=told["branch"], may_continue=told["mayContinue"])

    def _report_context(self, report: ContextProgress) -> None:
        report = replace(report, message=self._desk.redact(report.message))
        contexts = tuple(
            report if item.name == report.name else item for item in self._board.state.contexts
        )
        self._board.change(contexts=contexts)

    # Running

    async def _attend(self, progress: Progress) -> Progress:
        """Wait for the work side's result; its bundle is ours when this returns."""
        assert progress.job is not None
        # Written again after a restart: the crash may have come between journal and exchange.
        if progress.running_since is None:
            write_atomic(self._desk.exchange_in / JOB, to_json(progress.job))
        told_to_stop: float | None = None
        loop = asyncio.get_running_loop()
        for poll in range(1_000_000_000):
            if progress.running_since is None and self._has(progress, BEGUN):
                progress = self._note_running(progress)
            if poll % _COLLECT_EVERY == 0:
                self._collect(progress.id)
            if self._stopping.is_set() and told_to_stop is None:
                stop = Stop(progress.id, self._stop_reason)
                write_atomic(self._desk.exchange_in / STOP, to_json(stop))
                told_to_stop = loop.time()
            result = self._read_result(progress.id)
            if result is None and told_to_stop and loop.time() - told_to_stop > _STOP_SECONDS:
                failure = f"the work side handed nothing over within {_STOP_SECONDS:.0f} s"
                result = Result(progress.id, stopped=True, failure=failure)
            if result is not None:
                return await self._take_over(progress, result)
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError("a result comes, or a stop")

    def _has(self, progress: Progress, name: str) -> bool:
        where = f"{progress.id.folder}/{name}"
        try:
            return read_regular(self._desk.exchange_out, where, MAX_RESULT_BYTES) is not None
        except ExchangeRefused:
            return True

    def _note_running(self, progress: Progress) -> Progress:
        """The command began. The job says so from now on, where the command cannot undo it."""
        assert progress.job is not None
        now = _now()
        self._desk.journal.append("running", progress.id, {"at": now})
        job = replace(progress.job, has_begun=True)
        write_atomic(self._desk.exchange_in / JOB, to_json(job))
        self._board.change(step="Running", started_at=now)
        return replace(progress, job=job, running_since=now)

    def _collect(self, start: StartId) -> None:
        collected = self._desk.store.collect(self._desk.exchange_out, start)
        self._board.change(artifacts=collected.artifacts, rejected_artifacts=collected.rejected)

    def _read_result(self, start: StartId) -> Result | None:
        where = f"{start.folder}/{RESULT}"
        try:
            data = read_regular(self._desk.exchange_out, where, MAX_RESULT_BYTES)
            return None if data is None else parse_result(data, start)
        except ExchangeRefused as error:
            raise _Failed(
                Failure("TaskFailed", f"the work side's result is refused: {error}")
            ) from error

    async def _take_over(self, progress: Progress, result: Result) -> Progress:
        """Copy the bundle, then write down that the command is over."""
        if progress.running_since is None and result.started_at is not None:
            progress = self._note_running(progress)
        self._desk.bundle.unlink(missing_ok=True)
        if result.tip is not None:
            try:
                await asyncio.to_thread(
                    copy_regular,
                    self._desk.exchange_out,
                    f"{progress.id.folder}/{BUNDLE}",
                    self._desk.bundle,
                    self._desk.source.settings.max_bundle_bytes,
                )
            except ExchangeRefused as error:
                text = f"the work's bundle is refused: {error}"
                self._board.change(published=Published("PushRejected", text))
                raise _Failed(Failure("PushRejected", text)) from error
        self._collect(progress.id)
        self._desk.journal.append("ended", progress.id, ended_data(result))
        return replace(progress, result=result)

    # Publishing

    async def _conclude(self, progress: Progress) -> None:
        """From the result to the end: what it was, where the work went."""
        result = progress.result
        assert result is not None
        self._collect(progress.id)
        tail = self._log_tail(progress.id)
        failure = judge(result, tail)
        finished_at = _now()
        about = last_run(result, progress.running_since, finished_at)
        if progress.running_since:
            self._desk.store.write_own(LAST_RUN, about)
        self._board.change(
            step="Publishing",
            exit_code=result.exit_code,
            started_at=progress.running_since,
            finished_at=finished_at,
            last_run=about if progress.running_since else None,
        )
        failure = await self._publish(progress, failure, is_done=not result.stopped)
        if result.stopped and failure is None:
            self._finish("Stopped", "Stopped", None)
        elif failure:
            self._finish("Finished", "Failed", failure)
        else:
            self._finish("Finished", "Succeeded", None)

    async def _publish(
        self, progress: Progress, failure: Failure | None, *, is_done: bool
    ) -> Failure | None:
        """Publish what succeeded, save what did not; the failure that stands in the end."""
        target = self._recover_target(progress)
        work = self._work(progress)
        if target is None or work is None:
            self._show(Publication(Published("NothingToPublish", "the task names no pull request")))
            return failure
        try:
            if failure or not is_done:
                self._show(await self._save(target, work))
            else:
                self._show(await self._publish_patiently(progress.spec, target, work))
        except (PushRejected, ForgeRefused, GitError) as error:
            reason = "ForgeRefused" if isinstance(error, ForgeRefused) else "PushRejected"
            text = self._desk.redact(str(error))
            self._board.change(published=Published(reason, text))  # type: ignore[arg-type]
            return failure or (Failure(reason, text) if is_done else None)
        return failure

    def _recover_target(self, progress: Progress) -> Target | None:
        """The target, on the branch that was chosen before the command began."""
        target = read_target(progress.spec, progress.id.run, self._desk.source)
        if target is None or progress.branch is None:
            return target
        branch = WorkBranch(progress.branch, target.branch.trailer, progress.may_continue)
        return replace(target, branch=branch)

    def _work(self, progress: Progress) -> Work | None:
        assert progress.job is not None
        assert progress.result is not None
        for context in progress.job.contexts:
            if context.name == progress.job.publish:
                return Work(context, self._desk.bundle if progress.result.tip else None)
        return None

    async def _publish_patiently(self, spec: Spec, target: Target, work: Work) -> Publication:
        """Publish; while forge or remote are away, again, until it is done or told to stop."""
        pause = _FIRST_RETRY_SECONDS
        while True:
            try:
                return await publish(spec, target, work, self._desk.source, self._note_pushed)
            except (GitUnavailable, ForgeUnavailable) as error:
                text = self._desk.redact(f"{error}; next try within {pause:.0f} s")
                self._board.change(published=Published("Retrying", text))
                if self._stopping.is_set():
                    raise _Stopped from error
                asked = getattr(error, "retry_after", None) or 0.0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(max(pause, asked), _LONGEST_RETRY_SECONDS)):
                        await self._stopping.wait()
                pause = min(pause * 2, _LONGEST_RETRY_SECONDS)

    async def _save(self, target: Target, work: Work) -> Publication:
        """Push the work only, for at most a minute: the pod's grace is not much longer."""
        pause = _FIRST_RETRY_SECONDS
        deadline = asyncio.get_running_loop().time() + _SAVE_SECONDS
        while True:
            try:
                return await save(target, work, self._desk.source)
            except GitUnavailable:
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                pause *= 2

    def _note_pushed(self, branch: str, commit: str) -> None:
        self._board.change(branch=branch, commit=commit)

    def _show(self, publication: Publication) -> None:
        if publication.pull_request:
            self._desk.store.write_own(LAST_PR, publication.pull_request)
        self._board.change(
            published=publication.published,
            branch=publication.branch,
            commit=publication.commit,
            pull_request=publication.pull_request,
        )

    # The end

    def _log_tail(self, start: StartId) -> str:
        return read_log(self._desk.exchange_out, start, self._desk.redact, MAX_TAIL_BYTES)

    def _finish(self, step: Step, outcome: Outcome, failure: Failure | None) -> None:
        state = self._board.state
        state = replace(
            state,
            step=step,
            outcome=outcome,
            failure=failure,
            finished_at=state.finished_at or _now(),
            log_tail=self._log_tail(state.id),
        )
        self._desk.journal.append("finished", state.id, dump_state(state))
        self._board.show(state)


def _now() -> str:
    return rfc3339(datetime.now(UTC))
