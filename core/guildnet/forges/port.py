"""What a forge can do for GuildNet, in words that hold for every forge.

The Protocol and its values belong here; how one forge is spoken to belongs in the module of its
name. Callers catch exactly two errors, both of ``guildnet.errors``: ForgeUnavailable (try again,
not before ``retry_after`` seconds) and ForgeRefused (trying again changes nothing).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

PullRequestState = Literal["open", "closed", "merged"]
CommitState = Literal["pending", "success", "failure", "error"]


@dataclass(frozen=True)
class PullRequest:
    """A pull request as its forge describes it.

    ``branch`` and ``base`` are branch names without ``refs/heads/``, ``commit`` is the head's
    id (hex; abbreviated by Bitbucket, "" while GitLab does not know it yet), ``created_at`` is
    RFC 3339 in UTC, ``body`` at most 64 KiB.
    """

    url: str
    provider: str
    repository: str
    number: int
    state: PullRequestState
    branch: str
    base: str
    commit: str
    title: str
    created_at: str
    body: str = field(default="", repr=False)

    def as_artifact(self) -> dict[str, str | int]:
        """The JSON object of ``last_pr.json``."""
        return {
            "url": self.url,
            "provider": self.provider,
            "repository": self.repository,
            "number": self.number,
            "state": self.state,
            "branch": self.branch,
            "base": self.base,
            "commit": self.commit,
            "title": self.title,
            "createdAt": self.created_at,
        }


@dataclass(frozen=True)
class PullRequestDraft:
    """A pull request to be opened from ``branch`` into ``base`` of the same repository.

    What a forge cannot do of ``draft``, ``labels`` and ``reviewers`` it leaves out or imitates;
    a label or reviewer that the forge does not know never keeps the pull request from opening.
    ``base`` None is the repository's default branch.
    """

    branch: str
    title: str
    body: str
    base: str | None = None
    draft: bool = False
    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommitStatus:
    """A mark on a commit; ``context`` tells it from the marks of others on the same commit."""

    sha: str
    state: CommitState
    context: str
    description: str
    target_url: str | None = None


class Forge(Protocol):
    """One repository on one forge. Every method may raise ForgeUnavailable or ForgeRefused."""

    @property
    def provider(self) -> str:
        """The forge's kind: ``gitea``, ``github``, ``gitlab``, ``bitbucket``,
        ``bitbucket-server``."""
        ...

    @property
    def repository(self) -> str:
        """The repository's full name, ``owner/name``; on GitLab ``group/subgroup/name``."""
        ...

    async def find_pull_requests(self, branch: str) -> list[PullRequest]:
        """All pull requests whose head is ``branch`` of this repository, in any state, newest
        first; pull requests from forks are never among them."""
        ...

    async def create_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """Open it; the open one from the same branch into the same base is returned instead."""
        ...

    async def get_pull_request(self, number: int) -> PullRequest:
        """The pull request as it is now; ForgeRefused with status 404 when there is none."""
        ...

    async def set_commit_status(self, status: CommitStatus) -> None:
        """Mark a commit; a later mark of the same context replaces this one."""
        ...
