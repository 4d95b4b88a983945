"""The status branch's commits: what each one changed, and the timeline of a task. Blocks on git.

Commits never change, so what was read from one is cached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from guildnet.git import Change, CommitInfo, Mirror
from guildnet.git.refs import is_commit_id
from guildnet.labels import SOURCE_REVISION_TRAILER
from guildnet.record import (
    MAX_RECORD_BYTES,
    STATUS_ROOT,
    org_folder,
    removed_path,
    task_record_path,
)
from guildnet_dashboard.cache import Cache
from guildnet_dashboard.json_values import number
from guildnet_dashboard.read_model import (
    OrgOrTask,
    record_owner,
)
from guildnet_dashboard.snapshot import OrgView, Snapshot
from guildnet_dashboard.task_detail import read_object
from guildnet_dashboard.timeline import TimelineEntry, changes_between

TIMELINE_LENGTH = 40


@dataclass(frozen=True, slots=True)
class StatusCommit:
    """One status commit, the source commit it reports on ("" if unknown), and what it changed.

    `subject` and `changed` name only orgs that the reader of the snapshot sees.
    """

    info: CommitInfo
    source: str
    changed: tuple[OrgOrTask, ...]
    subject: str


class StatusCommits:
    """Reads commits of one mirror's status branch."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._timelines: Cache[tuple[TimelineEntry, ...]] = Cache(256)
        self._changed: Cache[tuple[OrgOrTask, ...]] = Cache(4096)

    def commit(self, commit: str) -> CommitInfo | None:
        return self._mirror.commit_info(commit) if commit else None

    def timeline(self, snapshot: Snapshot, org: OrgView, task: str) -> tuple[TimelineEntry, ...]:
        """What the newest commits changed in one task's record, newest first."""
        row = org.tasks.get(task)
        if not snapshot.status or (row is None and task not in org.removed):
            return ()
        path, removed = task_record_path(org.name, task), removed_path(org.name, task)
        record = row.record.blob if row and row.record else None
        key = (org.name, task, record, org.removed.get(task), row.seen if row else "")
        commit = snapshot.status
        entries = self._timelines.get(key, lambda: self._read_timeline(commit, path, removed))
        if snapshot.visible is None:
            return entries
        subject = _limited_subject([(org.name, task)])
        return tuple(replace(entry, subject=subject) for entry in entries)

    def _read_timeline(self, commit: str, path: str, removed: str) -> tuple[TimelineEntry, ...]:
        commits = self._commits_of(commit, path, removed)
        records = [self._record_at(info.sha, path) for info in commits]
        earlier: list[Mapping[str, Any] | None] = [*records[1:]]
        if len(commits) <= TIMELINE_LENGTH:
            earlier.append(None)
        return tuple(
            TimelineEntry(
                info.sha,
                info.when,
                info.subject,
                number(after or before or {}, "run"),
                changes_between(before, after),
            )
            for info, after, before in zip(commits, records, earlier, strict=False)
            if after is not None or before is not None
        )

    def _commits_of(self, commit: str, path: str, removed: str) -> list[CommitInfo]:
        """The newest commits that touch either path, newest first.

        One `git log` for each path, because git's changed-path index is used for single paths only.
        """
        limit = TIMELINE_LENGTH + 1
        commits = self._mirror.log(commit, (path,), limit=limit)
        removals = self._mirror.log(commit, (removed,), limit=limit)
        if not removals:
            return commits
        found = {info.sha: info for info in (*commits, *removals)}
        return sorted(found.values(), key=lambda info: info.when, reverse=True)[:limit]

    def _record_at(self, commit: str, path: str) -> Mapping[str, Any] | None:
        data = self._mirror.show(commit, path, max_bytes=MAX_RECORD_BYTES)
        return None if data is None else read_object(data)

    def activity(
        self, snapshot: Snapshot, *, org: str | None = None, limit: int = 50
    ) -> list[StatusCommit]:
        """The newest status commits, newest first, that touch an org of the snapshot; with `org`,
        those that touch it."""
        visible = snapshot.visible
        if not snapshot.status or visible == frozenset():
            return []
        touched = [org] if org is not None else sorted(visible or ())
        paths = [org_folder(name) for name in touched]
        commits = self._mirror.log(snapshot.status, paths, limit=limit)
        unread = [info.sha for info in commits if info.sha not in self._changed]
        changed = self._mirror.changes_of(unread, (STATUS_ROOT,))
        return [
            _limited(
                StatusCommit(
                    info, _source_of(info), self._changed_by(info.sha, changed), info.subject
                ),
                visible,
            )
            for info in commits
        ]

    def _changed_by(
        self, commit: str, changed: Mapping[str, list[Change]]
    ) -> tuple[OrgOrTask, ...]:
        def read() -> tuple[OrgOrTask, ...]:
            known = changed.get(commit)
            if known is None:
                known = self._mirror.changes_of([commit], (STATUS_ROOT,))[commit]
            owners = (record_owner(change.path) for change in known)
            return tuple(dict.fromkeys(owner for owner in owners if owner is not None))

        return self._changed.get(commit, read)


def _limited(commit: StatusCommit, visible: frozenset[str] | None) -> StatusCommit:
    """The commit with nothing of other orgs than the visible ones."""
    if visible is None:
        return commit
    seen = tuple(place for place in commit.changed if place[0] in visible)
    return replace(commit, changed=seen, subject=_limited_subject(seen))


def _limited_subject(seen: Sequence[OrgOrTask]) -> str:
    """What replaces a commit's own subject, which can name any org that the commit changed."""
    if len(seen) != 1:
        return f"status: {len(seen)} changes"
    org, task = seen[0]
    return f"status: {org}/{task}" if task else f"status: {org}"


def _source_of(info: CommitInfo) -> str:
    values = info.trailer_values(SOURCE_REVISION_TRAILER)
    return values[-1] if values and is_commit_id(values[-1]) else ""
