"""The status branch, read for `guildnet status` and `guildnet logs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guildnet.errors import ConfigurationError, Problem, RefNotFound
from guildnet.git import CredentialProvider, Mirror
from guildnet.record import (
    MAX_RECORD_BYTES,
    InvalidRecord,
    Kind,
    OrgRecord,
    TaskRecord,
    artifact_path,
    org_record_path,
    records_at,
    task_record_path,
)
from guildnet_cli.repository.mirror import locate, open_mirror


class NotRecorded(ConfigurationError):
    """The status branch, or the record of an org or task, does not exist (yet)."""


@dataclass(frozen=True)
class StatusSnapshot:
    """The status branch at one commit: records of orgs and tasks, and unreadable files."""

    commit: str
    orgs: Mapping[str, OrgRecord]
    tasks: Mapping[tuple[str, str], TaskRecord]
    unreadable: tuple[Problem, ...]


class StatusBranch:
    """Reads records from the status branch of one state repository."""

    def __init__(
        self, repo: str | None, branch: str, credentials: CredentialProvider | None = None
    ) -> None:
        self.remote = locate(repo)
        self._branch = branch
        self._credentials = credentials

    def read(self, org: str | None, task: str | None) -> StatusSnapshot:
        """Fetch the branch, then read all records, or those of one org or task.

        Raises GitUnavailable, or NotRecorded where the status branch does not exist.
        """
        with open_mirror(self.remote, self._credentials) as mirror:
            return _snapshot(mirror, self.fetched(mirror), org, task)

    def read_newer(self, than: str, org: str | None, task: str | None) -> StatusSnapshot | None:
        """The same, or None while the branch is still at commit `than`."""
        with open_mirror(self.remote, self._credentials) as mirror:
            commit = self.fetched(mirror)
            return None if commit == than else _snapshot(mirror, commit, org, task)

    def artifact(self, org: str, task: str, name: str) -> bytes | None:
        """One of a task's artifacts; None where it does not exist."""
        with open_mirror(self.remote, self._credentials) as mirror:
            commit = self.fetched(mirror)
            path = artifact_path(org, task, name)
            return mirror.show(commit, path, max_bytes=MAX_RECORD_BYTES)

    def fetched(self, mirror: Mirror) -> str:
        """Fetch the branch into `mirror`; its commit. Raises NotRecorded without one."""
        try:
            return self.remote.fetch(mirror, self._branch)
        except RefNotFound as error:
            raise NotRecorded(
                f"branch {self._branch} does not exist: no reconciler has run for this repository",
                place=mirror.place,
                cure="Start one with `guildnet reconciler --repo ...`, or give the repository that "
                "it pushes to with --repo.",
            ) from error


def _snapshot(mirror: Mirror, commit: str, org: str | None, task: str | None) -> StatusSnapshot:
    orgs: dict[str, OrgRecord] = {}
    tasks: dict[tuple[str, str], TaskRecord] = {}
    unreadable: list[Problem] = []
    for stored in records_at(mirror, commit, org):
        file = stored.file
        if file.kind is Kind.REMOVED or (task and file.kind is Kind.TASK and file.task != task):
            continue
        try:
            record = stored.record()
        except InvalidRecord as error:
            path = task_record_path(file.org, file.task) if file.task else org_record_path(file.org)
            unreadable.append(Problem(path, 0, str(error)))
            continue
        if isinstance(record, OrgRecord):
            orgs[record.org] = record
        elif isinstance(record, TaskRecord):
            tasks[record.org, record.task] = record
    return StatusSnapshot(commit, orgs, tasks, tuple(unreadable))
