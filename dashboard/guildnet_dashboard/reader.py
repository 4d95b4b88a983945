"""The single interface between routes and data: everything a page or an API answer reads."""

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
from guildnet_dashboard.viewer import Viewer


class NotReady(GuildNetError):
    """The repository has not been read yet."""


@dataclass(frozen=True, slots=True)
class View:
    """The data of one answer: what its viewer sees. `health` is always good for an earlier
    commit."""

    snapshot: Snapshot
    health: Health
    at: str | None
    viewer: Viewer

    @property
    def revision(self) -> str:
        return shown_revision(revision_of(self.snapshot, self.health), self.viewer)


def shown_revision(revision: str, viewer: Viewer) -> str:
    """A revision that differs between viewers who see different things."""
    return f"{revision}-{viewer.key}" if viewer.key else revision


@dataclass(frozen=True)
class Reader:
    """Blocks on the mirror, so routes that use it run in threads."""

    mirror: Mirror
    model: ReadModel
    commits: StatusCommits
    follower: Follower
    repository: str

    def view(self, at: str | None, viewer: Viewer) -> View:
        """What the viewer sees at commit `at`, or now for None.

        Raises NotReady, or NotFound for `at`.
        """
        health = self.follower.health
        if not health.ready:
            raise NotReady(
                health.fault or "the repository is being read for the first time",
                cure=health.cure or "This page appears by itself once that is done.",
            )
        snapshot = self.model.at(at).limited_to(viewer.orgs)
        return View(snapshot, health if at is None else Health(ready=True), at, viewer)

    def org(self, snapshot: Snapshot, org: str) -> OrgView:
        return self.model.org(snapshot, org)

    def task(self, snapshot: Snapshot, org: str, task: str) -> TaskDetail:
        return task_detail(self.mirror, snapshot, self.org(snapshot, org), task)

    def artifact(self, snapshot: Snapshot, org: str, task: str, name: str) -> bytes:
        row = self.task(snapshot, org, task).row
        return artifact_bytes(self.mirror, snapshot, row, name)

    def timeline(self, snapshot: Snapshot, org: str, task: str) -> tuple[TimelineEntry, ...]:
        return self.commits.timeline(snapshot, self.org(snapshot, org), task)

    def activity(self, snapshot: Snapshot, org: str | None, limit: int) -> list[StatusCommit]:
        if org is not None:
            self.org(snapshot, org)
        return self.commits.activity(snapshot, org=org, limit=limit)

    def commit(self, snapshot: Snapshot) -> CommitInfo | None:
        """The status commit of a snapshot; None if there is no status branch."""
        return self.commits.commit(snapshot.status)
