"""Pushes finished work to the run's branch, or to another one if that branch has moved.

Finished work must not be lost because a person pushed to the branch. It goes to a second branch,
nothing is overwritten, and a note says where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guildnet.errors import GitError
from guildnet_agent.supervisor.git.credentials import Credentials
from guildnet_agent.supervisor.git.repository import BareRepository, BranchMoved

_CHECK_REF = "refs/guildnet/remote"
_COMMIT_CHARACTERS = 10


@dataclass(frozen=True)
class PushedWork:
    """The branch that holds the work; ``note`` says why, if it is not the first choice."""

    branch: str
    note: str = ""


async def push_work(
    repository: BareRepository, remote: Credentials, commit: str, branch: str, own_branch: str
) -> PushedWork:
    """Push the work to ``branch``, or to the run's own branch if ``branch`` has moved.

    Raises PushRejected and GitUnavailable, and BranchMoved if the branch already had other
    commits when the run began.
    """
    moved: BranchMoved | None = None
    for name in _candidates(branch, own_branch, commit):
        try:
            await push_branch(repository, remote, commit, name)
        except BranchMoved as error:
            if await _was_there_before(repository, name):
                raise
            moved = error
            continue
        if name == branch:
            return PushedWork(name)
        return PushedWork(
            name,
            f"branch {branch} has new commits by others, so the work is on branch {name}: "
            "merge the two",
        )
    assert moved is not None
    raise moved


async def push_branch(
    repository: BareRepository, remote: Credentials, commit: str, branch: str
) -> None:
    """Push the commit to the remote branch without force, unless the branch already contains it.

    Raises BranchMoved if the branch has commits that are not in the history of ``commit``, and
    PushRejected and GitUnavailable.
    """
    await repository.delete_ref(_CHECK_REF)
    tip = (await repository.list_remote(remote, [branch])).branch(branch)
    if tip == commit:
        return
    if tip is not None:
        await repository.fetch(remote, [f"+refs/heads/{branch}:{_CHECK_REF}"])
        if await repository.is_ancestor(commit, _CHECK_REF):
            return
    await repository.push(remote, commit, branch)


async def _was_there_before(repository: BareRepository, branch: str) -> bool:
    """Whether the branch is still as it was when the contexts were fetched."""
    try:
        before = await repository.resolve(f"refs/heads/{branch}")
        return before == await repository.resolve(_CHECK_REF)
    except GitError:
        return False


def _candidates(branch: str, own_branch: str, commit: str) -> Iterator[str]:
    """Branch names to try in order; the last is unique, because it contains the commit's id."""
    yield branch
    if own_branch != branch:
        yield own_branch
    yield f"{own_branch}.{commit[:_COMMIT_CHARACTERS]}"
