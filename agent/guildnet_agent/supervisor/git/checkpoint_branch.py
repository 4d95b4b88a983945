"""The branch for a run's work in progress.

It is read at the start of a pod, replaced by each checkpoint, and deleted once the work is on the
run's branch. It belongs to GuildNet alone and is the only branch that is force-pushed: a checkpoint
is one commit on top of the command's own commits and does not build on the previous checkpoint. The
push succeeds only if the branch is still at the commit that was seen (``--force-with-lease``).
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
    """``base`` is the commit that the work builds on; ``commit`` is on top of the work."""

    commit: str
    base: str


async def read_checkpoint(repository: BareRepository, commit: str, trailer: str) -> Checkpoint:
    """Read a checkpoint of this run from its trailers. GitError for any other commit."""
    bases = await repository.trailers(commit, BASE_TRAILER)
    if await repository.trailers(commit, RUN_TRAILER) != [trailer] or len(bases) != 1:
        raise GitError(f"{commit} is not a checkpoint of {trailer}")
    if not _COMMIT.match(bases[0]) or not await repository.is_ancestor(bases[0], commit):
        raise GitError(f"the checkpoint {commit} does not build on the base that it names")
    return Checkpoint(commit, bases[0])


async def find_checkpoint(
    repository: BareRepository, remote: Credentials, refs: RemoteRefs, branch: WorkBranch
) -> Checkpoint | None:
    """Fetch the work in progress of an earlier start, if it is newer than the run's branch.

    It becomes `CHECKPOINT_REF` of the repository; that ref exists only if the remote has the
    branch. Raises GitError and GitUnavailable.
    """
    if refs.branch(branch.checkpoints) is None:
        return None
    await repository.fetch(remote, [f"+refs/heads/{branch.checkpoints}:{CHECKPOINT_REF}"])
    commit = await repository.resolve(CHECKPOINT_REF)
    saved = refs.branch(branch.name)
    try:
        found = await read_checkpoint(repository, commit, branch.trailer)
    except GitError as error:
        log.warning("%s is ignored: %s", branch.checkpoints, error.message)
        return None
    if saved is not None and not await repository.is_ancestor(saved, commit):
        log.info("%s is older than %s", branch.checkpoints, branch.name)
        return None
    return found


@dataclass(frozen=True)
class CheckpointBranch:
    """The branch for a run's checkpoints. While the folder ``scratch`` exists, the remote may have
    the branch."""

    repository: BareRepository
    remote: Credentials
    branch: WorkBranch
    scratch: Path

    @property
    def was_pushed(self) -> bool:
        """Whether this pod has pushed a checkpoint, or started to."""
        return self.scratch.exists()

    async def push(self, bundle: Path, max_bytes: int) -> str:
        """Replace the branch with the bundle's checkpoint; return its commit.

        GitError if the bundle is not a checkpoint of this run; PushRejected and GitUnavailable.
        """
        # The next checkpoint deletes this repository, so checkpoints cannot fill the disk.
        repository = await self.repository.borrow(self.scratch)
        commit = await repository.take_bundle(bundle, CHECKPOINT_REF, max_bytes)
        found = await read_checkpoint(repository, commit, self.branch.trailer)
        await repository.check_links(commit, found.base)
        name = self.branch.checkpoints
        tip = (await repository.list_remote(self.remote, [name])).branch(name)
        if tip != commit:
            await repository.replace_branch(self.remote, commit, name, tip)
        return commit

    async def delete(self) -> None:
        """Delete the branch if the remote has it. PushRejected and GitUnavailable."""
        if not self.was_pushed and not await self.repository.has_commit(CHECKPOINT_REF):
            return
        name = self.branch.checkpoints
        tip = (await self.repository.list_remote(self.remote, [name])).branch(name)
        if tip is not None:
            await self.repository.replace_branch(self.remote, None, name, tip)
        await self.repository.delete_ref(CHECKPOINT_REF)
        await asyncio.to_thread(shutil.rmtree, self.scratch, ignore_errors=True)
