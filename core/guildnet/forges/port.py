"""The operations that GuildNet needs from a forge, and their values, the same for every forge.

The API calls of each forge are in the module with its name. Callers catch exactly two errors, both
of ``guildnet.errors``: ForgeUnavailable (retry, no earlier than after ``retry_after`` seconds) and
ForgeRefused (a retry would change nothing).
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
    id (hex; abbreviated by Bitbucket, "" while GitLab has not set it yet), ``created_at`` is
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
        """The content of ``last_pr.json``."""
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
    """A pull request to open, from ``branch`` into ``base`` of the same repository.

    ``draft``, ``labels`` and ``reviewers`` are left out or imitated where a forge does not support
    them; an unknown label or reviewer never prevents the pull request. ``base`` None is the
    repository's default branch.
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
    """The status of a commit; ``context`` identifies it among the other statuses of the commit."""

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
        first, without pull requests from forks."""
        ...

    async def create_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """Open a pull request, or return the open one from the same branch into the same base."""
        ...

    async def get_pull_request(self, number: int) -> PullRequest:
        """Read a pull request. ForgeRefused with status 404 if it does not exist."""
        ...

    async def set_commit_status(self, status: CommitStatus) -> None:
        """Set the status of a commit; a later status with the same context replaces it."""
        ...
