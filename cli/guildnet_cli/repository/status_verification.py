"""Verifies the commits of the status branch, newest first, with bounded work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.git import Change, CommitInfo, CredentialProvider, Identity, Mirror, SshSigners
from guildnet.record import MAX_RECORD_BYTES
from guildnet.record.verification import (
    chain_problem,
    change_problems,
    content_problem,
    recorded_file,
)
from guildnet_cli.repository.mirror import open_mirror
from guildnet_cli.repository.status_branch import StatusBranch

#: Reading stops there: the branch is not to be trusted long before.
MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class CommitProblem:
    """What is wrong with a commit; `path` is "" for the commit itself."""

    commit: str
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.commit[:12]} {self.path}" if self.path else self.commit[:12]
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verified:
    """The tip that was checked, the number of commits, and at most MAX_PROBLEMS problems."""

    tip: str
    commits: int
    problems: tuple[CommitProblem, ...]


def verify(
    repo: str | None,
    branch: str,
    credentials: CredentialProvider | None,
    *,
    allowed_signers: Path | None,
    since: str | None,
    limit: int,
    progress: Callable[[int, int], None],
) -> Verified:
    """Verify the commits after `since` (all of them for None), at most `limit`.

    Calls `progress` with the number of commits checked and to check. Raises ConfigurationError if
    the branch does not contain `since`: it was rewritten.
    """
    status = StatusBranch(repo, branch, credentials)
    with open_mirror(status.remote, credentials) as mirror:
        tip = status.fetched(mirror)
        if since is not None and not (mirror.resolve(since) and mirror.is_ancestor(since, tip)):
            raise ConfigurationError(
                f"the branch {branch} does not contain {since[:64]}",
                place=mirror.place,
                cure="Either the commit is not one of this branch, or the branch was rewritten: "
                "then compare it with a copy.",
            )
        commits = mirror.log(tip, limit=limit, since=since)
        signers = SshSigners(allowed_signers) if allowed_signers is not None else None
        problems: list[CommitProblem] = []
        for number, info in enumerate(commits):
            found = _problems(mirror, info, signers)
            problems += islice(found, MAX_PROBLEMS - len(problems))
            progress(number + 1, len(commits))
            if len(problems) >= MAX_PROBLEMS:
                return Verified(tip, number + 1, tuple(problems))
        return Verified(tip, len(commits), tuple(problems))


def _problems(
    mirror: Mirror, info: CommitInfo, signers: SshSigners | None
) -> Iterator[CommitProblem]:
    own = chain_problem(info, author=Identity().person)
    if own is not None:
        yield CommitProblem(info.sha, "", own)
    # Every replica makes the same first commit, so it is not signed; it holds no records.
    if signers is not None and info.parents and mirror.verify_commit(info.sha, signers) is None:
        yield CommitProblem(info.sha, "", "not signed by an allowed key")
    changes = mirror.changes_of([info.sha])[info.sha]
    for path, message in change_problems(info, changes):
        yield CommitProblem(info.sha, path, message)
    yield from _content_problems(mirror, info, changes)


def _content_problems(
    mirror: Mirror, info: CommitInfo, changes: list[Change]
) -> Iterator[CommitProblem]:
    recorded = [change for change in changes if recorded_file(change) is not None]
    read = mirror.read_blobs([change.blob for change in recorded], max_bytes=MAX_RECORD_BYTES)
    for change, (_, _, data) in zip(recorded, read, strict=True):
        if (message := content_problem(data)) is not None:
            yield CommitProblem(info.sha, change.path, message)
