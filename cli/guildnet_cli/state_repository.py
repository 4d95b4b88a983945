"""The state repository as a person at the command line sees it: a checkout, or a mirror of it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guildnet import labels
from guildnet.digest import sha256_hex
from guildnet.errors import ConfigurationError, InvalidResource, Problem, RefNotFound
from guildnet.git import CredentialProvider, Mirror
from guildnet.git.checkout import Checkout
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
from guildnet.redact import strip_url
from guildnet.state_folder import open_private, private_folder, state_folder

if TYPE_CHECKING:
    from guildnet.resources import Org


class NotRecorded(ConfigurationError):
    """The status branch, or one org or task on it, is not there (yet)."""


@dataclass(frozen=True)
class StatusSnapshot:
    """The status branch at one commit: orgs and tasks by name, and what could not be read."""

    commit: str
    orgs: Mapping[str, OrgRecord]
    tasks: Mapping[tuple[str, str], TaskRecord]
    unreadable: tuple[Problem, ...]


class StatusBranch:
    """Reads records from the status branch of one state repository."""

    def __init__(
        self, repo: str | None, branch: str, credentials: CredentialProvider | None = None
    ) -> None:
        self._repository = locate(repo)
        self._branch = branch
        self._credentials = credentials

    def read(self, org: str | None, task: str | None) -> StatusSnapshot:
        """Fetch the branch, then read all records, or those of one org or task.

        Raises GitUnavailable, or NotRecorded when there is no status branch yet.
        """
        with open_mirror(self._repository, self._credentials) as mirror:
            return _snapshot(mirror, self._fetched(mirror), org, task)

    def read_newer(self, than: str, org: str | None, task: str | None) -> StatusSnapshot | None:
        """The same, unless the branch is still at commit `than`: then None."""
        with open_mirror(self._repository, self._credentials) as mirror:
            commit = self._fetched(mirror)
            return None if commit == than else _snapshot(mirror, commit, org, task)

    def artifact(self, org: str, task: str, name: str) -> bytes | None:
        """One file of a task's artifacts on the branch; None when there is none."""
        with open_mirror(self._repository, self._credentials) as mirror:
            commit = self._fetched(mirror)
            path = artifact_path(org, task, name)
            return mirror.show(commit, path, max_bytes=MAX_RECORD_BYTES)

    def _fetched(self, mirror: Mirror) -> str:
        try:
            return self._repository.fetch(mirror, self._branch)
        except RefNotFound as error:
            raise NotRecorded(
                f"there is no branch {self._branch}: no reconciler has reported here yet",
                place=mirror.place,
                cure="Start one with `guildnet reconciler --repo ...`, or name the repository "
                "it reports to with --repo.",
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


@dataclass(frozen=True, slots=True)
class Located:
    """A repository to mirror; with `through_origin` it is a checkout, whose origin counts."""

    url: str
    through_origin: bool = False

    def fetch(self, mirror: Mirror, branch: str) -> str:
        """The newest commit of `branch`, now in `mirror`; RefNotFound when there is none.

        The user's own git fetches into a checkout first, with the user's credentials.
        """
        name = Checkout(Path(self.url)).fetch(branch) if self.through_origin else branch
        return mirror.fetch([name])[name]


def locate(repo: str | None) -> Located:
    """The repository that `repo` names: a URL, a folder, or None for the one around us.

    A checkout's records are at its origin, so without a name that is taken; without an origin
    the checkout itself.
    """
    if repo is not None:
        return Located(str(Path(repo).resolve()) if Path(repo).is_dir() else repo)
    root = Checkout(Path.cwd()).top_level()
    if root is None:
        raise ConfigurationError(
            "not in a checkout of a state repository",
            place=str(Path.cwd()),
            cure="Change into one, or name the repository with --repo.",
        )
    return Located(str(root), through_origin=Checkout(root).has_origin())


@contextmanager
def open_mirror(
    repository: Located, credentials: CredentialProvider | None = None
) -> Iterator[Mirror]:
    """This command's own mirror of a repository; one command at a time has it."""
    url = repository.url
    folder = state_folder() / "mirrors" / f"cli-{sha256_hex(url.encode())[:16]}"
    try:
        private_folder(folder.parent)
        lock = open(folder.with_suffix(".lock"), "w", opener=open_private)  # noqa: SIM115 - held below
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written: {error.strerror}",
            place=str(folder.parent),
            cure="Name another folder in GUILDNET_STATE_DIR.",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Mirror.open(url, folder, credentials=credentials) as mirror:
            yield mirror


def find_org(name: str, repo: str | None, *, here_only: bool = False) -> Org | None:
    """The org's file: of the checkout we are in or that `repo` names, else of its source branch.

    With `here_only` an unnamed repository that is not around us is not looked for, and None is
    the answer. Raises InvalidResource for a bad file, ConfigurationError when there is none.
    """
    from guildnet.loading import MAX_FILE_BYTES, load_org, path_problem
    from guildnet.resources import Source, org_path
    from guildnet.work_tree import WorkTree
    from guildnet_cli.bounded import read_resource

    path = org_path(name)
    misnamed = path_problem(path)
    if misnamed is not None:
        raise InvalidResource([misnamed])
    root = Path(repo) if repo is not None else Checkout(Path.cwd()).top_level() or Path()
    if WorkTree(root).kind(path) is not None:
        return load_org(read_resource(root, path), Source(path))
    if here_only and repo is None:
        return None
    content = _on_source_branch(locate(repo), path, MAX_FILE_BYTES)
    if content is None:
        raise ConfigurationError(
            f"there is no org {name}",
            place=f"{strip_url(repo or str(root))}: {path}",
            cure="Name the state repository with --repo, or add the org with `guildnet org add`.",
        )
    return load_org(content, Source(path))


def _on_source_branch(repository: Located, path: str, max_bytes: int) -> bytes | None:
    with open_mirror(repository) as mirror:
        try:
            commit = repository.fetch(mirror, labels.SOURCE_BRANCH)
        except RefNotFound:
            return None
        return mirror.show(commit, path, max_bytes=max_bytes)
