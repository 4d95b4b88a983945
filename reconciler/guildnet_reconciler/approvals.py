"""What commits approve by their trailers: deletions, moves, rewritten history."""

from __future__ import annotations

from collections.abc import Callable, Collection

from guildnet import labels
from guildnet.git import CommitInfo, Mirror
from guildnet.resources import org_path, task_path

MAX_COMMITS = 1000
"""How far back approvals are looked for beyond the applied revision."""

Trusted = Callable[[str], bool]
"""Whether a commit's trailers count; with verification on, only those of signed commits do."""


def approving_commits(
    mirror: Mirror, tip: str, *, since: str | None, trailer: str, org: str, trusted: Trusted
) -> list[CommitInfo]:
    """Commits after `since` (or of the last thousand) that approve for `org`, newest first."""
    start = since if since is not None and mirror.is_ancestor(since, tip) else None
    return [
        commit
        for commit in mirror.log(tip, limit=MAX_COMMITS, since=start)
        if org in commit.trailer_values(trailer) and trusted(commit.sha)
    ]


def released_deletions(
    mirror: Mirror,
    tip: str,
    *,
    since: str | None,
    org: str,
    tasks: Collection[str],
    org_vanished: bool,
    trusted: Trusted,
) -> set[str]:
    """Those of the deleted tasks whose deletion was approved: by the commit that made it, or by a
    later one. An approval never reaches forward to a deletion that came after it."""
    commits = approving_commits(
        mirror,
        tip,
        since=since,
        trailer=labels.APPROVE_DELETIONS,
        org=org,
        trusted=trusted,
    )
    released: set[str] = set()
    for commit in commits:
        if org_vanished and _touched_after(mirror, commit.sha, tip, org_path(org)):
            continue
        quiet = not _touched_after(mirror, commit.sha, tip, f"tasks/{org}")
        for task in set(tasks) - released:
            path = task_path(org, task)
            if mirror.tree_id(commit.sha, path) is not None and not org_vanished:
                continue
            if quiet or not _touched_after(mirror, commit.sha, tip, path):
                released.add(task)
    return released


def is_move_approved(
    mirror: Mirror, tip: str, *, since: str | None, org: str, trusted: Trusted
) -> bool:
    """Whether the org's latest change of place was approved: by the commit that made it, or by a
    later one. An approval never reaches forward to a move that came after it."""
    commits = approving_commits(
        mirror, tip, since=since, trailer=labels.APPROVE_MOVE, org=org, trusted=trusted
    )
    return any(not _touched_after(mirror, commit.sha, tip, org_path(org)) for commit in commits)


def is_left_behind(mirror: Mirror, tip: str, revision: str, trusted: Trusted) -> bool:
    """Whether a commit of the last thousand accepts that `revision` is not in the history any
    more: by its own id, or by that of one that descends from it."""
    return any(
        value == revision or mirror.is_ancestor(revision, value)
        for commit in mirror.log(tip, limit=MAX_COMMITS)
        for value in commit.trailer_values(labels.ACCEPT_HISTORY)
        if trusted(commit.sha)
    )


def _touched_after(mirror: Mirror, commit: str, tip: str, path: str) -> bool:
    return bool(mirror.log(tip, [path], limit=1, since=commit, every_side=True))
