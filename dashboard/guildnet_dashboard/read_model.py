"""The read model: snapshots of both branches, read from the dashboard's own mirror.

Every method blocks. All of them are thread-safe except `advance`, which has a single caller.
Lists are built from immutable snapshots in memory; a task's page also reads that task's blobs
(`task_detail`), and its timeline and the activity page read commits (`status_commits`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guildnet.errors import GuildNetError
from guildnet.git import Mirror
from guildnet.git.refs import is_commit_id
from guildnet.labels import SOURCE_REVISION_TRAILER
from guildnet.loading import parse_path
from guildnet.record import (
    STATUS_ROOT,
    Kind,
    StatusFile,
    StoredFile,
    parse_status_path,
    read_files,
    too_large,
)
from guildnet_dashboard.cache import Cache
from guildnet_dashboard.org_report import report_of
from guildnet_dashboard.snapshot import OrgView, Snapshot, StatusChange
from guildnet_dashboard.states import State, TaskSummary, summary_of

SOURCE_FOLDERS = ("orgs", "tasks")
_CACHED_SNAPSHOTS = 8
_MAX_SEARCHED_COMMITS = 500

OrgOrTask = tuple[str, str | None]
"""(org, task), or (org, None) for the org itself."""

Blobs = Sequence[tuple[str, str | None]]
"""(path, blob id), or (path, None) for a deleted path."""


class NotFound(GuildNetError):
    """The requested org, task, artifact or commit does not exist."""


@dataclass(frozen=True, slots=True)
class Update:
    """Two consecutive snapshots, and the orgs and tasks that differ."""

    before: Snapshot
    after: Snapshot
    changed: frozenset[OrgOrTask]


class ReadModel:
    """Both branches of one mirror. `current` is the newest snapshot; it is replaced atomically."""

    def __init__(self, mirror: Mirror, *, branch: str, status_branch: str) -> None:
        self._mirror = mirror
        self._branch = branch
        self._status_branch = status_branch
        self._snapshots: Cache[Snapshot] = Cache(_CACHED_SNAPSHOTS)
        self.current = Snapshot()

    def advance(self) -> Update | None:
        """Update `current` to the mirror's newest commits; return None if there are none.

        A branch that is missing from the mirror keeps its last commit.
        """
        before = self.current
        status = self._mirror.resolve(self._status_branch) or before.status
        source = self._mirror.resolve(self._branch) or before.source
        if (status, source) == (before.status, before.source):
            return None
        update = self._update(before, status, source)
        self.current = update.after
        return update

    def _update(self, base: Snapshot, status: str, source: str) -> Update:
        reported = changed_blobs(self._mirror, base.status, status, (STATUS_ROOT,))
        committed = changed_blobs(self._mirror, base.source, source, SOURCE_FOLDERS)
        after = base.with_changes(
            status=status, source=source, reported=self._read(reported), committed=committed
        )
        changed = {record_owner(path) for path, _ in reported}
        changed |= {_file_owner(path) for path, _ in committed}
        return Update(base, after, frozenset(owner for owner in changed if owner is not None))

    def _read(self, changed: Blobs) -> Iterator[StatusChange]:
        """Parse the changed files of the status branch; all blobs are read in one batch."""
        wanted: list[tuple[StatusFile, str]] = []
        for path, blob in changed:
            file = parse_status_path(path)
            if file is None or not file.is_record:
                continue
            if file.kind is Kind.REMOVED:
                yield StatusChange(file.org, file.task, removed=blob, in_removed=True)
            elif blob is None:
                yield StatusChange(file.org, file.task or None)
            else:
                wanted.append((file, blob))
        for stored in read_files(self._mirror, wanted):
            yield _change(stored)

    def at(self, commit: str | None) -> Snapshot:
        """The snapshot at a commit of either branch, or the current one for None.

        A source commit selects the newest status commit that was written for it. Raises NotFound
        if neither branch has the commit.
        """
        if commit is None:
            return self.current
        if not is_commit_id(commit):
            raise NotFound(
                f"{commit[:80]!r} is not a full commit id",
                cure="The activity page links every status commit.",
            )
        return self._snapshots.get(commit, lambda: self._as_of(commit))

    def _as_of(self, commit: str) -> Snapshot:
        current = self.current
        if current.status and self._mirror.is_ancestor(commit, current.status):
            return self._update(current, commit, self._source_of(commit)).after
        if current.source and self._mirror.is_ancestor(commit, current.source):
            status = self._written_for(commit, current.status)
            return self._update(current, status, commit).after
        raise NotFound(
            f"commit {commit} is on neither branch",
            cure="The activity page links every status commit.",
        )

    def _source_of(self, status_commit: str) -> str:
        """The source commit that a status commit reports on, from its own or an earlier trailer."""
        for info in self._mirror.log(status_commit, limit=50):
            for value in info.trailer_values(SOURCE_REVISION_TRAILER):
                if is_commit_id(value) and self._mirror.resolve(value):
                    return value
        return ""

    def _written_for(self, source_commit: str, tip: str) -> str:
        for info in self._mirror.log(tip, limit=_MAX_SEARCHED_COMMITS) if tip else ():
            if source_commit in info.trailer_values(SOURCE_REVISION_TRAILER):
                return info.sha
        raise NotFound(
            f"no status commit was written for source commit {source_commit}",
            cure="The activity page links every status commit.",
        )

    def org(self, snapshot: Snapshot, org: str) -> OrgView:
        """Raises NotFound if there is no such org."""
        if org not in snapshot.orgs:
            raise NotFound(f"org {org[:80]!r} does not exist", cure="The overview lists all orgs.")
        return snapshot.orgs[org]


def changed_blobs(mirror: Mirror, old: str, new: str, folders: Sequence[str]) -> Blobs:
    """Return the files that differ between two commits; "" is the empty tree.

    Anything other than a regular file counts as deleted.
    """
    if old == new:
        return []
    if not old:
        return list(mirror.index(new, folders).items())
    if not new:
        return [(path, None) for path in mirror.index(old, folders)]
    return [
        (change.path, change.blob if change.status != "D" and change.kind == "file" else None)
        for change in mirror.diff(old, new, folders)
    ]


def record_owner(path: str) -> OrgOrTask | None:
    """The org or task that a path of the status branch belongs to; None for a ledger, which
    changes with the record of a task."""
    file = parse_status_path(path)
    is_shown = file is not None and file.kind is not Kind.LEDGER
    return (file.org, file.task or None) if file is not None and is_shown else None


def _file_owner(path: str) -> OrgOrTask | None:
    identity = parse_path(path)
    return (identity.org, identity.task) if identity else None


def _change(stored: StoredFile) -> StatusChange:
    org, task, data = stored.file.org, stored.file.task, stored.content
    if not task:
        return StatusChange(org, None, report=report_of(data or b"", org))
    if data is None:
        message = too_large(stored.size)
        summary = TaskSummary(stored.blob, State.UNREADABLE, "Unreadable", message)
        return StatusChange(org, task, summary)
    return StatusChange(org, task, summary_of(data, stored.blob))
