"""Running: wait for the command, collecting artifacts as they appear and its bundle at the end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from guildnet.agent_api.state import Failure, Published, StartId
from guildnet.errors import ConfigurationError
from guildnet.units import rfc3339
from guildnet_agent.exchange import (
    BEGUN,
    BUNDLE,
    JOB,
    MAX_RESULT_BYTES,
    RESULT,
    STOP,
    ExchangeRefused,
    copy_regular,
    read_regular,
    write_atomic,
)
from guildnet_agent.job import Result, Stop, parse_result, to_json
from guildnet_agent.supervisor.progress import Progress, ended_data
from guildnet_agent.supervisor.step_context import StartFailed, StepContext, StopRequest, now
from guildnet_agent.supervisor.steps.checkpoint import CheckpointCollector

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_COLLECT_SECONDS = 1.0


async def run(progress: Progress, ctx: StepContext, stop: StopRequest) -> Progress:
    """Wait for the command's result and copy its bundle. StartFailed.

    The work container always gets a stop request at the end: a command that forged a result must
    not continue to run.
    """
    checkpoints = CheckpointCollector(progress, ctx)
    exhausted: list[str] = []
    try:
        _open_model(progress, ctx, stop, exhausted)
        progress = await _follow_command(progress, ctx, stop, checkpoints)
    except Exception:
        _request_stop(progress.id, "Refused", ctx)
        raise
    finally:
        await checkpoints.end()
        await ctx.models.close()
    _request_stop(progress.id, "Finished", ctx)
    return replace(progress, exhausted=exhausted[0]) if exhausted else progress


def _open_model(
    progress: Progress, ctx: StepContext, stop: StopRequest, exhausted: list[str]
) -> None:
    """Open the command's model; once the budget is spent, stop the command as a timeout would."""
    assert progress.job is not None

    def end(message: str) -> None:
        ctx.note("exhausted", progress.id, {"message": message})
        exhausted.append(message)
        ctx.models.notice(message)
        if not stop.is_made:
            stop.make("BudgetExceeded")

    try:
        job = progress.job
        ctx.models.open(progress.id, job.model, progress.spec, progress.spent, end)
    except ConfigurationError as error:
        raise StartFailed(Failure("InvalidSpec", ctx.redact(str(error)))) from error
    if progress.exhausted:
        stop.make("BudgetExceeded")


async def _follow_command(
    progress: Progress, ctx: StepContext, stop: StopRequest, checkpoints: CheckpointCollector
) -> Progress:
    assert progress.job is not None
    if progress.running_since is None:
        # Possibly a second time: a crash may have come between the journal and this write.
        write_atomic(ctx.exchange_in / JOB, to_json(progress.job))
    timeout = ctx.source.settings.hand_over_seconds
    clock = asyncio.get_running_loop().time
    next_collect = stop_deadline = 0.0
    while True:
        if progress.running_since is None and _has_begun(progress.id, ctx):
            progress = _note_running(progress, ctx)
        if clock() >= next_collect:
            collect(progress.id, ctx)
            checkpoints.tick()
            next_collect = clock() + _COLLECT_SECONDS
        if stop.is_made and not stop_deadline:
            _request_stop(progress.id, stop.reason, ctx)
            stop_deadline = clock() + timeout
        result = _read_result(progress.id, ctx)
        if result is None and stop_deadline and clock() > stop_deadline:
            note = f"the work container handed over nothing within {timeout} s"
            result = Result(progress.id, stopped=True, notes=(note,))
        if result is not None:
            return await _take_over(progress, result, ctx)
        await asyncio.sleep(_POLL_SECONDS)


def _request_stop(start: StartId, reason: str, ctx: StepContext) -> None:
    """Ask the work container to stop. A full disk must not fail a start that is handed over."""
    try:
        write_atomic(ctx.exchange_in / STOP, to_json(Stop(start, reason)))
    except OSError as error:
        log.warning("%s: the stop request could not be written: %s", start, error)


def collect(start: StartId, ctx: StepContext) -> None:
    """Collect the artifacts that the command has written so far."""
    collected = ctx.store.collect(ctx.exchange_out, start)
    ctx.board.change(artifacts=collected.artifacts, rejected_artifacts=collected.rejected)


def _has_begun(start: StartId, ctx: StepContext) -> bool:
    where = f"{start.folder}/{BEGUN}"
    try:
        return read_regular(ctx.exchange_out, where, MAX_RESULT_BYTES) is not None
    except ExchangeRefused:
        return True  # the work container replaced the file after it began


def _note_running(progress: Progress, ctx: StepContext) -> Progress:
    """Record that the command has begun, also in the job, which the command cannot change."""
    assert progress.job is not None
    since = now()
    ctx.note("running", progress.id, {"at": rfc3339(since)})
    job = replace(progress.job, has_begun=True)
    try:
        write_atomic(ctx.exchange_in / JOB, to_json(job))
    except OSError as error:
        log.warning("%s: the job could not be marked as begun: %s", progress.id, error)
    ctx.board.change(step="Running", started_at=since)
    return replace(progress, job=job, running_since=since)


def _read_result(start: StartId, ctx: StepContext) -> Result | None:
    try:
        data = read_regular(ctx.exchange_out, f"{start.folder}/{RESULT}", MAX_RESULT_BYTES)
        return None if data is None else parse_result(data, start)
    except ExchangeRefused as error:
        failure = Failure("TaskFailed", f"the work container's result is invalid: {error}")
        raise StartFailed(failure) from error


async def _take_over(progress: Progress, result: Result, ctx: StepContext) -> Progress:
    """Copy the bundle, then record that the command has ended."""
    if progress.running_since is None and result.started_at is not None:
        progress = _note_running(progress, ctx)
    ctx.bundle.unlink(missing_ok=True)
    if result.tip is not None:
        where, limit = f"{progress.id.folder}/{BUNDLE}", ctx.source.settings.max_bundle_bytes
        try:
            found = await asyncio.to_thread(
                copy_regular, ctx.exchange_out, where, ctx.bundle, limit
            )
            if not found:
                raise ExchangeRefused(f"{where} is missing")
        except (ExchangeRefused, OSError) as error:
            text = (
                f"the work's bundle is refused: {error}; the work is in the workspace, which is "
                "deleted after the task's TTL"
            )
            ctx.board.change(published=Published("PushRejected", text))
            raise StartFailed(Failure("PushRejected", text)) from error
    ctx.note("ended", progress.id, ended_data(result))
    return replace(progress, result=result)
