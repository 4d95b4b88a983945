"""Publishing: work that succeeded becomes a pull request, other work is saved on its branch.

Never runs the command again: while the forge or the remote is away, publishing alone is repeated,
and a failure names the place where the work lies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from dataclasses import replace

from guildnet.agent_api.artifacts import LAST_PR
from guildnet.agent_api.state import Failure, Published, PublishedReason
from guildnet.errors import ForgeError, ForgeUnavailable, GitError, GitUnavailable, GuildNetError
from guildnet_agent.supervisor.progress import Progress
from guildnet_agent.supervisor.publication import (
    Publication,
    Target,
    Work,
    checkpoint_place,
    publish,
    read_target,
    rescue,
    save,
)
from guildnet_agent.supervisor.step_context import Desk, StartStopped, StopRequest

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 300.0
_SAVE_SECONDS = 60.0
_FORGET_SECONDS = 30.0
_RESCUE_SECONDS = 60.0


async def publish_work(
    progress: Progress, desk: Desk, stop: StopRequest, *, is_success: bool
) -> Failure | None:
    """Publish or save the work, and show it on the board; the failure of doing so, if any.

    Raises StartStopped when a stop is requested while forge or remote are away.
    """
    target, work = _target(progress, desk), _work(progress, desk)
    if target is None or work is None:
        _show(Publication(Published("NothingToPublish", "the task names no pull request")), desk)
        return None
    try:
        if is_success:
            publication = await _publish_patiently(progress, work, desk, stop)
        else:
            publication = await _save_patiently(target, work, desk)
    except StartStopped:
        raise
    except Exception as error:
        # The command is done and paid for: whatever this is, it must not run again for it.
        return await _fail(error, target, work, desk)
    if is_success or publication.branch is not None:
        await _forget_checkpoint(target, desk)
    else:
        publication = _with_note(publication, _checkpoint_note(target, desk))
    _show(publication, desk)
    return None


async def _fail(error: Exception, target: Target, work: Work, desk: Desk) -> Failure:
    """The failure of publishing, with the place where the work lies."""
    pushed = desk.board.state.branch
    is_forge = pushed is not None or isinstance(error, ForgeError)
    reason: PublishedReason = "ForgeRefused" if is_forge else "PushRejected"
    words = str(error)
    if not isinstance(error, GuildNetError):
        words = f"{type(error).__name__}: {error}"
        log.error("%s", desk.redact("".join(traceback.format_exception(error))))
    if pushed:
        where = f"the work is on branch {pushed}"
    elif isinstance(error, GitUnavailable):
        where = _in_workspace(target, work, desk)
    else:
        where = await _rescue(target, work, desk)
    text = desk.redact(f"{words}; {where}")
    desk.board.change(published=Published(reason, text))
    return Failure(reason, text)


async def _rescue(target: Target, work: Work, desk: Desk) -> str:
    """Push work that its branch did not take to another; where it is now."""
    try:
        async with asyncio.timeout(_RESCUE_SECONDS):
            branch = await rescue(target, work, desk.source)
    except (GuildNetError, OSError, TimeoutError) as error:
        log.warning("%s takes no work: %s", target.branch.checkpoints, desk.redact(str(error)))
        return _in_workspace(target, work, desk)
    return f"the work is on branch {branch}" if branch else "there is no work"


def _in_workspace(target: Target, work: Work, desk: Desk) -> str:
    kept = f"the work is in the workspace, folder {work.context.name}, which the task's TTL ends"
    return kept + _checkpoint_note(target, desk)


def _checkpoint_note(target: Target, desk: Desk) -> str:
    """Where the work in progress is, if this pod pushed some."""
    place = checkpoint_place(target, desk.source)
    return f"; work in progress is on {place.branch.checkpoints}" if place.was_pushed else ""


async def _forget_checkpoint(target: Target, desk: Desk) -> None:
    """The work is where it belongs; a branch of work in progress that stays harms nothing."""
    try:
        async with asyncio.timeout(_FORGET_SECONDS):
            await checkpoint_place(target, desk.source).forget()
    except (GitError, OSError, TimeoutError) as error:
        log.warning("%s stays: %s", target.branch.checkpoints, desk.redact(str(error)))


def _with_note(publication: Publication, note: str) -> Publication:
    published = publication.published
    return replace(publication, published=replace(published, message=published.message + note))


def _target(progress: Progress, desk: Desk) -> Target | None:
    """The target, on the branch that was chosen before the command began."""
    target = read_target(progress.spec, progress.id.run, desk.source)
    if target is None or progress.branch is None:
        return target
    branch = replace(target.branch, name=progress.branch, may_continue=progress.may_continue)
    return replace(target, branch=branch)


def _work(progress: Progress, desk: Desk) -> Work | None:
    assert progress.job is not None
    assert progress.result is not None
    result = progress.result
    for context in progress.job.contexts:
        if context.name == progress.job.publish:
            bundle = desk.bundle if result.tip else None
            return Work(context, bundle, result.base, tuple(map(desk.redact, result.notes)))
    return None


async def _publish_patiently(
    progress: Progress, work: Work, desk: Desk, stop: StopRequest
) -> Publication:
    """Publish; while forge or remote are away, again, until it is done or a stop is requested.

    Secrets are read anew for each try: a token may be replaced meanwhile.
    """
    pause = _FIRST_PAUSE_SECONDS

    def note_pushed(branch: str, commit: str) -> None:
        desk.board.change(branch=branch, commit=commit)

    while True:
        target = _target(progress, desk)
        assert target is not None
        try:
            return await publish(progress.spec, target, work, desk.source, note_pushed)
        except (GitUnavailable, ForgeUnavailable, OSError) as error:
            asked = getattr(error, "retry_after", None) or 0.0
            wait = min(max(pause, asked), _LONGEST_PAUSE_SECONDS)
            text = desk.redact(f"{error}; next try in {wait:.0f} s")
            desk.board.change(published=Published("Retrying", text))
            if stop.is_made:
                await _keep(target, work, desk)
                raise StartStopped from error
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await stop.wait()
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


async def _keep(target: Target, work: Work, desk: Desk) -> None:
    """Say where the work is when a stop is requested while publishing has to wait."""
    pushed = desk.board.state.branch
    where = f"the work is on branch {pushed}" if pushed else await _rescue(target, work, desk)
    published = desk.board.state.published
    before = f"{published.message}; " if published else ""
    desk.board.change(published=Published("Retrying", desk.redact(before + where)))


async def _save_patiently(target: Target, work: Work, desk: Desk) -> Publication:
    """Push the work only, for at most a minute: the pod's grace is not much longer."""
    pause = _FIRST_PAUSE_SECONDS
    clock = asyncio.get_running_loop().time
    deadline = clock() + _SAVE_SECONDS
    while True:
        try:
            return await save(target, work, desk.source)
        except (GitUnavailable, OSError):
            if clock() + pause > deadline:
                raise
            await asyncio.sleep(pause)
            pause *= 2


def _show(publication: Publication, desk: Desk) -> None:
    if publication.pull_request:
        try:
            desk.store.write_own(LAST_PR, publication.pull_request)
        except (OSError, ValueError) as error:
            # The pull request is open, and the state below says so.
            log.warning("%s cannot be written: %s", LAST_PR, error)
            publication = _with_note(publication, f"; {LAST_PR} could not be written: {error}")
    desk.board.change(
        published=publication.published,
        branch=publication.branch,
        commit=publication.commit,
        pull_request=publication.pull_request,
    )
