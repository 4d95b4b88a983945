"""The steps of a start in order: Preparing, Running, Publishing, then Finished or Stopped.

Each step is recorded in the journal before the next one starts, and a restarted supervisor
continues with the step it was in. It fetches contexts again, waits for a running command without
running it again, and publishes only what is not published yet.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from guildnet.agent_api.artifacts import LAST_RUN
from guildnet.agent_api.state import (
    MAX_LOG_TAIL_BYTES,
    AgentState,
    ContextProgress,
    Failure,
    Outcome,
    Published,
    StartId,
    Step,
)
from guildnet.errors import GuildNetError
from guildnet_agent.supervisor.artifacts import read_log
from guildnet_agent.supervisor.progress import Progress, dump_state, recover
from guildnet_agent.supervisor.step_context import (
    StartFailed,
    StartStopped,
    StepContext,
    StopRequest,
    now,
)
from guildnet_agent.supervisor.steps.outcome import find_failure, last_run
from guildnet_agent.supervisor.steps.prepare import prepare
from guildnet_agent.supervisor.steps.publish import publish_work
from guildnet_agent.supervisor.steps.run import collect, run
from guildnet_agent.supervisor.task import Spec

log = logging.getLogger(__name__)


class StartRefused(Exception):
    """Another start is in progress, or this one is older than one already seen."""


class Steps:
    """Runs one start at a time."""

    def __init__(self, ctx: StepContext) -> None:
        self._ctx = ctx
        self._board = ctx.board
        self._stop = StopRequest()
        self._task: asyncio.Task[None] | None = None

    def resume(self) -> None:
        """Continue the start in the journal, if there is one."""
        progress = recover(self._ctx.journal.read())
        if progress is None:
            return
        if progress.final is not None:
            self._board.show(progress.final)
        else:
            self._begin(progress)

    def start(self, start: StartId, spec: Spec, spent: Mapping[str, Any] | None = None) -> None:
        """Begin a start. Repeating the request for the current start changes nothing. StartRefused.

        ``spent`` is what the run used of its model before this start.
        """
        current = self._board.state
        if start == current.id:
            return
        if not self._board.is_idle:
            raise StartRefused(f"{current.id} is in progress")
        if start < current.id:
            raise StartRefused(f"{start} is older than {current.id}")
        self._ctx.journal.begin(start, {"spec": dict(spec), "spent": spent})
        self._begin(Progress(start, spec, spent))

    def stop(self, reason: str) -> None:
        """Stop the current start: its command ends within 20 s, and its work is pushed."""
        if not self._board.is_idle and not self._stop.is_made:
            log.info("stopping: %s", reason)
            self._stop.make(reason)

    async def wait(self) -> None:
        """Wait until no start is in progress."""
        if self._task:
            await asyncio.wait([self._task])

    def _begin(self, progress: Progress) -> None:
        self._stop = StopRequest()
        is_prepared = progress.job is not None
        contexts = tuple(
            ContextProgress(str(item["name"]), "Ready" if is_prepared else "Pending")
            for item in progress.spec.get("context", ())
        )
        state = AgentState(
            run=progress.id.run,
            attempt=progress.id.attempt,
            start=progress.id.start,
            step="Running" if progress.running_since else "Preparing",
            started_at=progress.running_since,
            contexts=contexts,
            editor_serving=self._board.state.editor_serving,
            usage=progress.spent,
        )
        self._board.show(state)
        self._task = asyncio.create_task(self._run_steps(progress))

    async def _run_steps(self, progress: Progress) -> None:
        log.info("%s: started", progress.id)
        try:
            if progress.job is None:
                self._ctx.store.clear()
                progress = await self._until_stopped(prepare(progress, self._ctx))
            if progress.result is None:
                progress = await run(progress, self._ctx, self._stop)
            await self._publish(progress)
        except StartStopped:
            self._finish("Stopped", "Stopped", None)
        except StartFailed as failed:
            self._finish("Finished", "Failed", failed.failure)
        except Exception as error:
            # A defect in the supervisor must end in a state that shows it.
            log.error("%s", self._ctx.redact("".join(traceback.format_exception(error))))
            self._finish("Finished", "Failed", self._unexpected(error))

    def _unexpected(self, error: Exception) -> Failure:
        """The failure for a defect in the supervisor. Once the command has ended it ends the run:
        another start would run the command again."""
        text = str(error)
        if not isinstance(error, GuildNetError):
            text = f"{type(error).__name__}: {error}"
        text = self._ctx.redact(text)
        if self._board.state.step != "Publishing":
            return Failure("SupervisorFailed", text, infrastructure=True)
        text += "; the work is in the workspace, which is deleted after the task's TTL"
        self._board.change(published=Published("PushRejected", text))
        return Failure("PushRejected", text)

    async def _until_stopped(self, work: Coroutine[Any, Any, Progress]) -> Progress:
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StartStopped
            return task.result()
        finally:
            for one in (task, stopping):
                one.cancel()
            await asyncio.wait([task, stopping])

    async def _publish(self, progress: Progress) -> None:
        """From the result to the end: find the failure, if any, and publish or save the work."""
        result = progress.result
        assert result is not None
        self._collect(progress)
        finished_at = now()
        failure = find_failure(result, self._log_tail(), progress.exhausted)
        self._board.change(
            step="Publishing",
            exit_code=result.exit_code,
            started_at=progress.running_since,
            finished_at=finished_at,
            last_run=self._write_last_run(progress, finished_at),
        )
        is_success = failure is None and not result.stopped
        unpublished = await publish_work(progress, self._ctx, self._stop, is_success=is_success)
        if is_success:
            failure = unpublished
        elif failure and failure.reason == "PushRejected":
            self._board.change(published=Published("PushRejected", failure.message))
        if failure:
            self._finish("Finished", "Failed", failure)
        elif result.stopped:
            self._finish("Stopped", "Stopped", None)
        else:
            self._finish("Finished", "Succeeded", None)

    def _collect(self, progress: Progress) -> None:
        """Collect the last artifacts; one that cannot be written must not fail the start."""
        try:
            collect(progress.id, self._ctx)
        except OSError as error:
            log.warning("%s: artifacts could not be collected: %s", progress.id, error)

    def _write_last_run(self, progress: Progress, finished_at: datetime) -> dict[str, Any] | None:
        """Write ``last_run.json`` for a command that ran. The state has its content even if the
        file cannot be written."""
        if not progress.running_since or progress.result is None:
            return None
        store = self._ctx.store
        usage = self._ctx.models.usage or self._reported_usage(progress)
        about = last_run(progress.result, progress.running_since, finished_at, usage)
        try:
            store.write_own(LAST_RUN, about)
        except (OSError, ValueError) as error:
            log.warning("%s: %s could not be written: %s", progress.id, LAST_RUN, error)
        return about

    def _reported_usage(self, progress: Progress) -> dict[str, Any]:
        """The usage that a command reports when it uses no model of its org."""
        try:
            reported = self._ctx.store.read_usage(self._board.state.artifacts)
        except (OSError, ValueError) as error:
            log.warning("%s: usage could not be read: %s", progress.id, error)
            return {}
        return {**reported, "reportedBy": "agent"} if reported else {}

    def _log_tail(self) -> str:
        ctx, start = self._ctx, self._board.state.id
        return read_log(ctx.exchange_out, start, ctx.redact, MAX_LOG_TAIL_BYTES)

    def _finish(self, step: Step, outcome: Outcome, failure: Failure | None) -> None:
        state = replace(
            self._board.state,
            step=step,
            outcome=outcome,
            failure=failure,
            finished_at=self._board.state.finished_at or now(),
            log_tail=self._log_tail(),
        )
        self._ctx.note("finished", state.id, dump_state(state))
        self._board.show(state)
        log.info("%s: %s", state.id, outcome)
