"""Approvals in commit messages: of deletions, moves and rewritten history.

An approval for an org counts in a commit that touches the org's files, so that whoever reviews
those files reviews it too, or that is signed by one of the org's people. It reaches back only:
never to a deletion or a move that comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from guildnet import labels
from guildnet.git import CommitInfo, Mirror
from guildnet.git.refs import is_commit_id
from guildnet.resources import org_path, task_path

MAX_COMMITS = 1000
"""How far back approvals are looked for beyond the applied revision."""
MAX_APPROVALS = 20
"""Approving commits that are looked at, newest first: a newer one covers what an older does."""
MAX_ACCEPTED = 100
MAX_PATHS_BYTES = 4 * 1024 * 1024

Trusted = Callable[[str], bool]
"""Whether a commit's trailers count; with verification on, only those of signed commits do."""
SignedFor = Callable[[str, str], bool]
"""Whether a commit (its id) is signed by one of an org's people (the org's name)."""


@dataclass(frozen=True)
class Approvals:
    """What the commits from `since` (None: the last thousand) to `tip` approve. Blocks."""

    mirror: Mirror
    tip: str
    since: str | None
    trusted: Trusted = lambda _commit: True
    signed_for: SignedFor = lambda _commit, _org: False

    def released_deletions(
        self, org: str, tasks: Collection[str], *, org_vanished: bool
    ) -> set[str]:
        """Those of the deleted tasks whose deletion was approved: by the commit that made it, or
        by a later one."""
        released: set[str] = set()
        for commit in self._approving(labels.APPROVE_DELETIONS, org):
            if org_vanished and self._touched_after(commit, org_path(org)):
                continue
            folder = f"tasks/{org}"
            touched = self.mirror.touched(
                self.tip, folder, since=commit.sha, max_bytes=MAX_PATHS_BYTES
            )
            if touched is None:
                continue  # too many paths to compare; the deletion stays held
            open_ones = sorted(set(tasks) - released)
            names = [f"{commit.sha}:{task_path(org, task)}" for task in open_ones]
            for task, found in zip(open_ones, self.mirror.lookups(names), strict=True):
                is_gone = found is None or org_vanished
                if is_gone and task_path(org, task) not in touched:
                    released.add(task)
        return released

    def is_move_approved(self, org: str) -> bool:
        """Whether the org's latest change of location was approved: by the commit that made it, or
        by a later one."""
        return any(
            not self._touched_after(commit, org_path(org))
            for commit in self._approving(labels.APPROVE_MOVE, org)
        )

    def _approving(self, key: str, org: str) -> Iterator[CommitInfo]:
        """Commits that approve for `org`, newest first."""
        since = self.since
        if since is not None and not self.mirror.is_ancestor(since, self.tip):
            since = None
        commits = self.mirror.commits(self.tip, limit=MAX_COMMITS, since=since)
        return islice((c for c in commits if self._approves(c, key, org)), MAX_APPROVALS)

    def _approves(self, commit: CommitInfo, key: str, org: str) -> bool:
        return (
            org in commit.trailer_values(key)
            and self.trusted(commit.sha)
            and (touches(self.mirror, commit, org) or self.signed_for(commit.sha, org))
        )

    def _touched_after(self, commit: CommitInfo, path: str) -> bool:
        return bool(self.mirror.log(self.tip, [path], limit=1, since=commit.sha, every_side=True))


def touches(mirror: Mirror, commit: CommitInfo, org: str) -> bool:
    """Whether a commit changes a file of the org, against its first parent."""
    paths = (org_path(org), f"orgs/{org}", f"tasks/{org}")
    after = mirror.lookups([f"{commit.sha}:{path}" for path in paths])
    if not commit.parents:
        return any(found is not None for found in after)
    before = mirror.lookups([f"{commit.parents[0]}:{path}" for path in paths])
    return any(old != new for old, new in zip(before, after, strict=True))


def is_left_behind(mirror: Mirror, tip: str, revision: str, trusted: Trusted) -> bool:
    """Whether a commit of the last thousand accepts that `revision` is not in the history any
    more: by its own id, or by that of one that descends from it."""
    accepted = (
        value
        for commit in mirror.commits(tip, limit=MAX_COMMITS)
        for value in dict.fromkeys(commit.trailer_values(labels.ACCEPT_HISTORY))
        if is_commit_id(value) and trusted(commit.sha)
    )
    return any(
        value == revision or mirror.is_ancestor(revision, value)
        for value in islice(accepted, MAX_ACCEPTED)
    )
