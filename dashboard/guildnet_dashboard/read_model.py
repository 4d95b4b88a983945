"""The read model: both branches as of a commit, read from the dashboard's own mirror.

Everything here blocks and may be called from several threads at once, except `advance`, which one
caller alone calls. Lists come from immutable snapshots in memory; a task's page reads that one
task's few blobs (`detail`), its timeline and the activity read commits (`chronicle`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guildnet.errors import GuildNetError
from guildnet.git import Mirror
from guildnet.labels import SOURCE_REVISION_TRAILER
from guildnet.loading import parse_path
from guildnet.record import STATUS_ROOT
from guildnet_dashboard.cache import Cache
from guildnet_dashboard.org_report import report_of
from guildnet_dashboard.snapshot import OrgView, Snapshot, StatusChange
from guildnet_dashboard.states import State, TaskSummary, summary_of

MAX_RECORD_BYTES = 1024 * 1024
SOURCE_FOLDERS = ("orgs", "tasks")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REMEMBERED_SNAPSHOTS = 8
_SEARCHED_COMMITS = 500

OrgOrTask = tuple[str, str | None]
"""(org, task or None for the org itself)"""

Blobs = Sequence[tuple[str, str | None]]
"""(path, blob id, or None where the path is gone)"""


class NotFound(GuildNetError):
    """There is no such org, task, artifact or commit to show."""


@dataclass(frozen=True, slots=True)
class Update:
    """From which snapshot to which, and what changed between them."""

    before: Snapshot
    after: Snapshot
    places: frozenset[OrgOrTask]


def is_commit(text: str) -> bool:
    """A full commit id: what may be given to git as one."""
    return _COMMIT.fullmatch(text) is not None


class ReadModel:
    """Both branches of one mirror. `current` is the newest snapshot, replaced as a whole."""

    def __init__(self, mirror: Mirror, *, branch: str, status_branch: str) -> None:
        self._mirror = mirror
        self._branch = branch
        self._status_branch = status_branch
        self._remembered: Cache[Snapshot] = Cache(_REMEMBERED_SNAPSHOTS)
        self.current = Snapshot()

    def advance(self) -> Update | None:
        """Update `current` to what the mirror has now; None where that is nothing new.

        A branch that the mirror no longer has stays as last read.
        """
        before = self.current
        status = self._mirror.resolve(self._status_branch) or before.status
        source = self._mirror.resolve(self._branch) or before.source
        if (status, source) == (before.status, before.source):
            return None
        move = self._moved(before, status, source)
        self.current = move.after
        return move

    def _moved(self, base: Snapshot, status: str, source: str) -> Update:
        reported = changed_blobs(self._mirror, base.status, status, (STATUS_ROOT,))
        committed = changed_blobs(self._mirror, base.source, source, SOURCE_FOLDERS)
        after = base.moved(
            status=status, source=source, reported=self._read(reported), committed=committed
        )
        places = {status_place(path) for path, _ in reported}
        places |= {_source_place(path) for path, _ in committed}
        return Update(base, after, frozenset(place for place in places if place is not None))

    def _read(self, changed: Blobs) -> Iterator[StatusChange]:
        """Changed paths of the status branch as changes; blobs are read in one go."""
        wanted: list[tuple[str, str | None, str]] = []
        for path, blob in changed:
            match path.split("/"):
                case [_, org, "org.json"]:
                    task = None
                case [_, org, "tasks", task, "status.json"]:
                    pass
                case [_, org, "removed", name] if name.endswith(".json"):
                    task = name.removesuffix(".json")
                    yield StatusChange(org, task, removed=blob, in_removed=True)
                    continue
                case _:
                    continue
            if blob is None:
                yield StatusChange(org, task)
            else:
                wanted.append((org, task, blob))
        ids = [blob for _, _, blob in wanted]
        blobs = self._mirror.read_blobs(ids, max_bytes=MAX_RECORD_BYTES)
        for (org, task, blob), (_, size, data) in zip(wanted, blobs, strict=True):
            yield _change(org, task, blob, size, data)

    def at(self, commit: str | None) -> Snapshot:
        """The snapshot as of a commit of the status branch, or of the source branch; None: now.

        A source commit stands for the newest status commit that was written for it. Raises
        NotFound for what is no such commit.
        """
        if commit is None:
            return self.current
        if not is_commit(commit):
            raise NotFound(
                f"{commit[:80]!r} is not a full commit id",
                cure="The activity page links every status commit.",
            )
        return self._remembered.get(commit, lambda: self._as_of(commit))

    def _as_of(self, commit: str) -> Snapshot:
        current = self.current
        if current.status and self._mirror.is_ancestor(commit, current.status):
            return self._moved(current, commit, self._source_of(commit)).after
        if current.source and self._mirror.is_ancestor(commit, current.source):
            status = self._written_for(commit, current.status)
            return self._moved(current, status, commit).after
        raise NotFound(
            f"neither branch holds commit {commit}",
            cure="The activity page links every status commit.",
        )

    def _source_of(self, status_commit: str) -> str:
        """The source commit a status commit speaks of: its own trailer, or an earlier one's."""
        for info in self._mirror.log(status_commit, limit=50):
            for value in info.trailer_values(SOURCE_REVISION_TRAILER):
                if is_commit(value) and self._mirror.resolve(value):
                    return value
        return ""

    def _written_for(self, source_commit: str, tip: str) -> str:
        for info in self._mirror.log(tip, limit=_SEARCHED_COMMITS) if tip else ():
            if source_commit in info.trailer_values(SOURCE_REVISION_TRAILER):
                return info.sha
        raise NotFound(
            f"no status commit was written for source commit {source_commit}",
            cure="The activity page links every status commit.",
        )

    def org(self, snapshot: Snapshot, org: str) -> OrgView:
        """Raises NotFound where there is none."""
        if org not in snapshot.orgs:
            raise NotFound(
                f"there is no org {org[:80]!r}", cure="The overview lists all there are."
            )
        return snapshot.orgs[org]


def changed_blobs(mirror: Mirror, old: str, new: str, folders: Sequence[str]) -> Blobs:
    """What differs between two commits, "" standing for an empty tree.

    What is no regular file counts as not there.
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


def status_place(path: str) -> OrgOrTask | None:
    """Which org or task any path of the status branch belongs to."""
    match path.split("/"):
        case ["orgs", org, "org.json"]:
            return org, None
        case ["orgs", org, "tasks", task, *_]:
            return org, task
        case ["orgs", org, "removed", name]:
            return org, name.removesuffix(".json")
    return None


def _source_place(path: str) -> OrgOrTask | None:
    identity = parse_path(path)
    return (identity.org, identity.task) if identity else None


def _change(org: str, task: str | None, blob: str, size: int, data: bytes | None) -> StatusChange:
    if task is None:
        return StatusChange(org, None, report=report_of(data or b"", org))
    if data is None:
        message = f"status.json has {size:,} bytes; at most {MAX_RECORD_BYTES:,} are read"
        return StatusChange(org, task, TaskSummary(blob, State.UNREADABLE, "Unreadable", message))
    return StatusChange(org, task, summary_of(data, blob))
