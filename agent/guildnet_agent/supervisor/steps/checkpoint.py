"""Pushes the checkpoints that the shim makes of a running command's work.

It runs beside the run step and never delays or fails it: errors are only logged.
"""

from __future__ import annotations

import asyncio
import logging

from guildnet.errors import GuildNetError
from guildnet_agent.exchange import CHECKPOINT, ExchangeRefused, copy_regular, fingerprint
from guildnet_agent.supervisor.progress import Progress
from guildnet_agent.supervisor.publication import checkpoint_branch_of, read_target
from guildnet_agent.supervisor.step_context import StepContext

log = logging.getLogger(__name__)


class CheckpointCollector:
    """Pushes one checkpoint at a time, at most one per interval, whatever the command does."""

    def __init__(self, progress: Progress, ctx: StepContext) -> None:
        self._progress = progress
        self._ctx = ctx
        self._interval = ctx.source.settings.checkpoint_seconds
        self._is_wanted = bool(self._interval and progress.job and progress.job.publish)
        self._next = 0.0
        self._seen: tuple[int, int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    def tick(self) -> None:
        """Start to push a new checkpoint if one is due."""
        now = asyncio.get_running_loop().time()
        is_busy = self._task is not None and not self._task.done()
        if not self._is_wanted or is_busy or now < self._next:
            return
        found = fingerprint(self._ctx.exchange_out, self._path)
        if found is not None and found != self._seen:
            self._seen = found
            self._next = now + self._interval
            self._task = asyncio.create_task(self._take())

    async def end(self) -> None:
        """Cancel a push in progress: the work itself is published next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def _path(self) -> str:
        return f"{self._progress.id.folder}/{CHECKPOINT}"

    async def _take(self) -> None:
        ctx, progress = self._ctx, self._progress
        settings = ctx.source.settings
        bundle = settings.home / ".guildnet" / CHECKPOINT
        limit = settings.max_bundle_bytes
        try:
            await asyncio.to_thread(copy_regular, ctx.exchange_out, self._path, bundle, limit)
            target = read_target(progress.spec, progress.id.run, ctx.source)
            if target is None:
                return
            branch = checkpoint_branch_of(target, ctx.source)
            commit = await branch.push(bundle, settings.max_unpacked_bytes)
        except (ExchangeRefused, GuildNetError, OSError) as error:
            log.warning("%s: checkpoint not pushed: %s", progress.id, ctx.redact(str(error)))
        else:
            log.info(
                "%s: checkpoint %s pushed to %s",
                progress.id,
                commit[:12],
                target.branch.checkpoints,
            )
