"""Where finished work goes: onto the run's branch, and where that cannot be, onto another.

Work that is done must not be lost because somebody moved a branch: it is pushed beside what is
there, never over it, and the note says where it is.
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
    """The branch that holds the work; ``note`` says why it is not the first choice, else empty."""

    branch: str
    note: str = ""


async def push_work(
    repository: BareRepository, remote: Credentials, commit: str, branch: str, own_branch: str
) -> PushedWork:
    """Push the work to ``branch``; where somebody moved that, to a branch of the run's own.

    Raises PushRejected and GitUnavailable; BranchMoved where the branch was somebody else's
    already when the run began.
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
            f"branch {branch} has commits of somebody else since, so the work is on branch {name}: "
            "merge the two",
        )
    assert moved is not None
    raise moved


async def push_branch(
    repository: BareRepository, remote: Credentials, commit: str, branch: str
) -> None:
    """Make the remote branch hold the commit, never forced; it may hold it already.

    Raises BranchMoved where the branch has commits that ``commit`` does not go on from, and
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
    """Whether the branch is what it was when the contexts were read."""
    try:
        before = await repository.resolve(f"refs/heads/{branch}")
        return before == await repository.resolve(_CHECK_REF)
    except GitError:
        return False


def _candidates(branch: str, own_branch: str, commit: str) -> Iterator[str]:
    """The commit's id in the last name makes it one that nobody else has."""
    yield branch
    if own_branch != branch:
        yield own_branch
    yield f"{own_branch}.{commit[:_COMMIT_CHARACTERS]}"
