"""Work in progress on a branch of its own: found at a start, replaced as the work goes on, taken
away once the work is on the run's branch.

The one branch that is ever forced: each checkpoint is the work as it was then, on top of the
command's own commits, and does not go on from the one before. It is GuildNet's alone, and is
replaced only where it is still what was seen there.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from guildnet.errors import GitError
from guildnet.labels import BASE_TRAILER, RUN_TRAILER
from guildnet_agent.exchange import CHECKPOINT_REF
from guildnet_agent.supervisor.git.credentials import Credentials
from guildnet_agent.supervisor.git.repository import BareRepository, RemoteRefs
from guildnet_agent.supervisor.work_branch import WorkBranch

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\Z")


@dataclass(frozen=True)
class Checkpoint:
    """``base`` is what the work goes on from; ``commit`` is one commit on top of the work."""

    commit: str
    base: str


async def read_checkpoint(repository: BareRepository, commit: str, trailer: str) -> Checkpoint:
    """A commit that says it is a checkpoint of this run. GitError for any other."""
    bases = await repository.trailers(commit, BASE_TRAILER)
    if await repository.trailers(commit, RUN_TRAILER) != [trailer] or len(bases) != 1:
        raise GitError(f"{commit} is not a checkpoint of {trailer}")
    if not _COMMIT.match(bases[0]) or not await repository.is_ancestor(bases[0], commit):
        raise GitError(f"the checkpoint {commit} does not go on from what it names")
    return Checkpoint(commit, bases[0])


async def find_checkpoint(
    repository: BareRepository, remote: Credentials, refs: RemoteRefs, branch: WorkBranch
) -> Checkpoint | None:
    """What an earlier start of this run left in progress, if that is newer than its branch.

    `CHECKPOINT_REF` of the repository is it; where that is there, the remote has such a branch.
    GitError and GitUnavailable where it cannot be fetched.
    """
    if refs.branch(branch.checkpoints) is None:
        return None
    await repository.fetch(remote, [f"+refs/heads/{branch.checkpoints}:{CHECKPOINT_REF}"])
    commit = await repository.resolve(CHECKPOINT_REF)
    saved = refs.branch(branch.name)
    try:
        found = await read_checkpoint(repository, commit, branch.trailer)
    except GitError as error:
        log.warning("%s is left alone: %s", branch.checkpoints, error.message)
        return None
    if saved is not None and not await repository.is_ancestor(saved, commit):
        log.info("%s is older than %s", branch.checkpoints, branch.name)
        return None
    return found


@dataclass(frozen=True)
class CheckpointBranch:
    """Where a run's checkpoints go. ``scratch`` is a folder of ours; while it is there, the remote
    may have the branch."""

    repository: BareRepository
    remote: Credentials
    branch: WorkBranch
    scratch: Path

    @property
    def was_pushed(self) -> bool:
        """Whether this pod pushed one, or began to."""
        return self.scratch.exists()

    async def push(self, bundle: Path, max_bytes: int) -> str:
        """Put the branch where the bundle's checkpoint is; its commit.

        GitError for a bundle of something else; PushRejected and GitUnavailable.
        """
        # What is taken in here is gone with the next checkpoint: none of them fills the disk.
        repository = await self.repository.borrow(self.scratch)
        commit = await repository.take_bundle(bundle, CHECKPOINT_REF, max_bytes)
        found = await read_checkpoint(repository, commit, self.branch.trailer)
        await repository.check_links(commit, found.base)
        name = self.branch.checkpoints
        tip = (await repository.list_remote(self.remote, [name])).branch(name)
        if tip != commit:
            await repository.replace_branch(self.remote, commit, name, tip)
        return commit

    async def forget(self) -> None:
        """Take the branch away where the remote has it. PushRejected and GitUnavailable."""
        if not self.was_pushed and not await self.repository.has_commit(CHECKPOINT_REF):
            return
        name = self.branch.checkpoints
        tip = (await self.repository.list_remote(self.remote, [name])).branch(name)
        if tip is not None:
            await self.repository.replace_branch(self.remote, None, name, tip)
        await self.repository.delete_ref(CHECKPOINT_REF)
        await asyncio.to_thread(shutil.rmtree, self.scratch, ignore_errors=True)
