"""Publishing: successful work becomes a pull request; other work is saved on its branch.

The command never runs again for this: while the forge or the remote is unavailable, only
publishing is retried, and a failure says where the work is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import traceback
from dataclasses import replace
from datetime import timedelta

from guildnet.agent_api.artifacts import LAST_PR
from guildnet.agent_api.state import Failure, Published, PublishedReason
from guildnet.backoff import Backoff
from guildnet.errors import ForgeError, ForgeUnavailable, GitError, GitUnavailable, GuildNetError
from guildnet_agent.supervisor.progress import Progress
from guildnet_agent.supervisor.publication import (
    Publication,
    Target,
    Work,
    checkpoint_branch_of,
    publish,
    read_target,
    rescue,
    save,
)
from guildnet_agent.supervisor.step_context import StartStopped, StepContext, StopRequest

log = logging.getLogger(__name__)

_BACKOFF = Backoff(first=timedelta(seconds=2), longest=timedelta(minutes=5))
_SAVE_SECONDS = 60.0
_DELETE_SECONDS = 30.0
_RESCUE_SECONDS = 60.0


async def publish_work(
    progress: Progress, ctx: StepContext, stop: StopRequest, *, is_success: bool
) -> Failure | None:
    """Publish or save the work and show the result. Return the failure to do so, if any.

    Raises StartStopped if a stop is requested while the forge or the remote is unavailable.
    """
    target, work = _target(progress, ctx), _work(progress, ctx)
    if target is None or work is None:
        _show(Publication(Published("NothingToPublish", "the task names no pull request")), ctx)
        return None
    try:
        if is_success:
            publication = await _publish_with_retries(progress, work, ctx, stop)
        else:
            publication = await _save_with_retries(target, work, ctx)
    except StartStopped:
        raise
    except Exception as error:
        # The command has finished: no failure of publishing may run it again.
        return await _fail(error, target, work, ctx)
    if is_success or publication.branch is not None:
        await _delete_checkpoint(target, ctx)
    else:
        publication = _with_note(publication, _checkpoint_note(target, ctx))
    _show(publication, ctx)
    return None


async def _fail(error: Exception, target: Target, work: Work, ctx: StepContext) -> Failure:
    """The failure to publish; its message says where the work is."""
    pushed = ctx.board.state.branch
    is_forge = pushed is not None or isinstance(error, ForgeError)
    reason: PublishedReason = "ForgeRefused" if is_forge else "PushRejected"
    text = str(error)
    if not isinstance(error, GuildNetError):
        text = f"{type(error).__name__}: {error}"
        log.error("%s", ctx.redact("".join(traceback.format_exception(error))))
    if pushed:
        where = f"the work is on branch {pushed}"
    elif isinstance(error, GitUnavailable):
        where = _kept_in_workspace(target, work, ctx)
    else:
        where = await _rescue(target, work, ctx)
    text = ctx.redact(f"{text}; {where}")
    ctx.board.change(published=Published(reason, text))
    return Failure(reason, text)


async def _rescue(target: Target, work: Work, ctx: StepContext) -> str:
    """Push work whose branch was refused to another branch. Return where it is now."""
    try:
        async with asyncio.timeout(_RESCUE_SECONDS):
            branch = await rescue(target, work, ctx.source)
    except (GuildNetError, OSError, TimeoutError) as error:
        log.warning(
            "%s could not take the work either: %s",
            target.branch.checkpoints,
            ctx.redact(str(error)),
        )
        return _kept_in_workspace(target, work, ctx)
    return f"the work is on branch {branch}" if branch else "there is no work"


def _kept_in_workspace(target: Target, work: Work, ctx: StepContext) -> str:
    folder = work.context.name
    kept = f"the work is in the workspace, folder {folder}, which is deleted after the task's TTL"
    return kept + _checkpoint_note(target, ctx)


def _checkpoint_note(target: Target, ctx: StepContext) -> str:
    """Say where the work in progress is, if this pod pushed any."""
    checkpoints = checkpoint_branch_of(target, ctx.source)
    return (
        f"; work in progress is on {checkpoints.branch.checkpoints}"
        if checkpoints.was_pushed
        else ""
    )


async def _delete_checkpoint(target: Target, ctx: StepContext) -> None:
    """Delete the branch with work in progress: the work is on its own branch now."""
    try:
        async with asyncio.timeout(_DELETE_SECONDS):
            await checkpoint_branch_of(target, ctx.source).delete()
    except (GitError, OSError, TimeoutError) as error:
        log.warning(
            "%s could not be deleted: %s", target.branch.checkpoints, ctx.redact(str(error))
        )


def _with_note(publication: Publication, note: str) -> Publication:
    published = publication.published
    return replace(publication, published=replace(published, message=published.message + note))


def _target(progress: Progress, ctx: StepContext) -> Target | None:
    """The target, with the branch that was chosen while preparing."""
    target = read_target(progress.spec, progress.id.run, ctx.source)
    if target is None or progress.branch is None:
        return target
    branch = replace(target.branch, name=progress.branch, may_continue=progress.may_continue)
    return replace(target, branch=branch)


def _work(progress: Progress, ctx: StepContext) -> Work | None:
    assert progress.job is not None
    assert progress.result is not None
    result = progress.result
    for context in progress.job.contexts:
        if context.name == progress.job.publish:
            bundle = ctx.bundle if result.tip else None
            return Work(context, bundle, result.base, tuple(map(ctx.redact, result.notes)))
    return None


async def _publish_with_retries(
    progress: Progress, work: Work, ctx: StepContext, stop: StopRequest
) -> Publication:
    """Publish, and retry while the forge or the remote is unavailable, until a stop is requested.

    Credentials are read again for each try: a token may have been replaced.
    """
    failures = 0

    def note_pushed(branch: str, commit: str) -> None:
        ctx.board.change(branch=branch, commit=commit)

    while True:
        target = _target(progress, ctx)
        assert target is not None
        try:
            return await publish(progress.spec, target, work, ctx.source, note_pushed)
        except (GitUnavailable, ForgeUnavailable, OSError) as error:
            failures += 1
            asked = getattr(error, "retry_after", None) or 0.0
            longest = _BACKOFF.longest.total_seconds()
            wait = min(max(_BACKOFF.pause(failures).total_seconds(), asked), longest)
            text = ctx.redact(f"{error}; retrying in {wait:.0f} s")
            ctx.board.change(published=Published("Retrying", text))
            if stop.is_made:
                await _keep(target, work, ctx)
                raise StartStopped from error
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await stop.wait()


async def _keep(target: Target, work: Work, ctx: StepContext) -> None:
    """Report where the work is when a stop is requested before it could be published."""
    pushed = ctx.board.state.branch
    where = f"the work is on branch {pushed}" if pushed else await _rescue(target, work, ctx)
    published = ctx.board.state.published
    before = f"{published.message}; " if published else ""
    ctx.board.change(published=Published("Retrying", ctx.redact(before + where)))


async def _save_with_retries(target: Target, work: Work, ctx: StepContext) -> Publication:
    """Push without a pull request, for at most a minute: the pod may be terminating."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _SAVE_SECONDS
    for failures in itertools.count(1):
        try:
            return await save(target, work, ctx.source)
        except (GitUnavailable, OSError):
            pause = _BACKOFF.pause(failures).total_seconds()
            if clock() + pause > deadline:
                raise
            await asyncio.sleep(pause)
    raise AssertionError("the loop returns or raises")


def _show(publication: Publication, ctx: StepContext) -> None:
    if publication.pull_request:
        try:
            ctx.store.write_own(LAST_PR, publication.pull_request)
        except (OSError, ValueError) as error:
            # The pull request is open all the same; the state shows it.
            log.warning("%s cannot be written: %s", LAST_PR, error)
            publication = _with_note(publication, f"; {LAST_PR} could not be written: {error}")
    ctx.board.change(
        published=publication.published,
        branch=publication.branch,
        commit=publication.commit,
        pull_request=publication.pull_request,
    )
