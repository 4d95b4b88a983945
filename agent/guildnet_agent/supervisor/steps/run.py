"""Running: the work side is waited for; its artifacts are taken as they come, its bundle last."""

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
    """The progress with the work side's result; its bundle is ours by then. StartFailed.

    However it ends, the work side gets the stop of this start: a result that the command forged
    does not keep it running.
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
    """Let the command use its model; once its budget is spent, end it as by a timeout."""
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
        # After a restart perhaps once more: the crash may have come between journal and exchange.
        write_atomic(ctx.exchange_in / JOB, to_json(progress.job))
    patience = ctx.source.settings.hand_over_seconds
    clock = asyncio.get_running_loop().time
    next_collect = give_up = 0.0
    while True:
        if progress.running_since is None and _has_begun(progress.id, ctx):
            progress = _note_running(progress, ctx)
        if clock() >= next_collect:
            collect(progress.id, ctx)
            checkpoints.tick()
            next_collect = clock() + _COLLECT_SECONDS
        if stop.is_made and not give_up:
            _request_stop(progress.id, stop.reason, ctx)
            give_up = clock() + patience
        result = _read_result(progress.id, ctx)
        if result is None and give_up and clock() > give_up:
            note = f"the work side handed nothing over within {patience} s"
            result = Result(progress.id, stopped=True, notes=(note,))
        if result is not None:
            return await _take_over(progress, result, ctx)
        await asyncio.sleep(_POLL_SECONDS)


def _request_stop(start: StartId, reason: str, ctx: StepContext) -> None:
    """A full disk must not undo a start whose work is handed over."""
    try:
        write_atomic(ctx.exchange_in / STOP, to_json(Stop(start, reason)))
    except OSError as error:
        log.warning("%s: the work side could not be told to stop: %s", start, error)


def collect(start: StartId, ctx: StepContext) -> None:
    """Take over the artifacts that the command left by now."""
    collected = ctx.store.collect(ctx.exchange_out, start)
    ctx.board.change(artifacts=collected.artifacts, rejected_artifacts=collected.rejected)


def _has_begun(start: StartId, ctx: StepContext) -> bool:
    where = f"{start.folder}/{BEGUN}"
    try:
        return read_regular(ctx.exchange_out, where, MAX_RESULT_BYTES) is not None
    except ExchangeRefused:
        return True  # only the work side, having begun, can have put something else there


def _note_running(progress: Progress, ctx: StepContext) -> Progress:
    """The command began. The job says so from now on, where the command cannot undo it."""
    assert progress.job is not None
    since = now()
    ctx.note("running", progress.id, {"at": rfc3339(since)})
    job = replace(progress.job, has_begun=True)
    try:
        write_atomic(ctx.exchange_in / JOB, to_json(job))
    except OSError as error:
        log.warning("%s: the job does not say that it began: %s", progress.id, error)
    ctx.board.change(step="Running", started_at=since)
    return replace(progress, job=job, running_since=since)


def _read_result(start: StartId, ctx: StepContext) -> Result | None:
    try:
        data = read_regular(ctx.exchange_out, f"{start.folder}/{RESULT}", MAX_RESULT_BYTES)
        return None if data is None else parse_result(data, start)
    except ExchangeRefused as error:
        failure = Failure("TaskFailed", f"the work side's result is refused: {error}")
        raise StartFailed(failure) from error


async def _take_over(progress: Progress, result: Result, ctx: StepContext) -> Progress:
    """Copy the bundle, then write down that the command is over."""
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
                f"the work's bundle is refused: {error}; the work is in the workspace, which the "
                "task's TTL ends"
            )
            ctx.board.change(published=Published("PushRejected", text))
            raise StartFailed(Failure("PushRejected", text)) from error
    ctx.note("ended", progress.id, ended_data(result))
    return replace(progress, result=result)
