"""The one thing that routes speak to: what can be read, and as of which commits."""

from __future__ import annotations

from dataclasses import dataclass

from guildnet.errors import GuildNetError
from guildnet.git import CommitInfo, Mirror
from guildnet_dashboard.follower import Follower, Health, revision_of
from guildnet_dashboard.read_model import ReadModel
from guildnet_dashboard.snapshot import OrgView, Snapshot
from guildnet_dashboard.status_commits import StatusCommit, StatusCommits
from guildnet_dashboard.task_detail import TaskDetail, artifact_bytes, task_detail
from guildnet_dashboard.timeline import TimelineEntry


class NotReady(GuildNetError):
    """Nothing was read from the repository yet."""


@dataclass(frozen=True, slots=True)
class View:
    """What one answer is made from. `health` is fine for a view of the past."""

    snapshot: Snapshot
    health: Health
    at: str | None

    @property
    def revision(self) -> str:
        return revision_of(self.snapshot, self.health)


@dataclass(frozen=True)
class Reader:
    """Blocks on the mirror; routes that use it run in threads."""

    mirror: Mirror
    model: ReadModel
    chronicle: StatusCommits
    follower: Follower
    place: str

    def view(self, at: str | None) -> View:
        """Raises NotReady before the first read, NotFound for an unknown commit."""
        health = self.follower.health
        if not health.ready:
            raise NotReady(
                health.fault or "the repository is being read for the first time",
                cure=health.cure or "This page shows by itself once it is done.",
            )
        return View(self.model.at(at), health if at is None else Health(ready=True), at)

    def org(self, snapshot: Snapshot, org: str) -> OrgView:
        return self.model.org(snapshot, org)

    def task(self, snapshot: Snapshot, org: str, task: str) -> TaskDetail:
        return task_detail(self.mirror, snapshot, self.org(snapshot, org), task)

    def artifact(self, snapshot: Snapshot, org: str, task: str, name: str) -> bytes:
        row = self.task(snapshot, org, task).row
        return artifact_bytes(self.mirror, snapshot, row, name)

    def timeline(self, snapshot: Snapshot, org: str, task: str) -> tuple[TimelineEntry, ...]:
        return self.chronicle.timeline(snapshot, self.org(snapshot, org), task)

    def activity(self, snapshot: Snapshot, org: str | None, limit: int) -> list[StatusCommit]:
        if org is not None:
            self.org(snapshot, org)
        return self.chronicle.activity(snapshot, org=org, limit=limit)

    def commit(self, snapshot: Snapshot) -> CommitInfo | None:
        """The status commit that is shown; None where there is no status branch."""
        return self.chronicle.commit(snapshot.status)
