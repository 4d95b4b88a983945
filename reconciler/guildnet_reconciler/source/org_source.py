"""One org in the source tree, and what its pass asks of the repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from guildnet.errors import Problem
from guildnet.git import Mirror
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.source.approvals import Approvals
from guildnet_reconciler.source.index import SourceFile


@dataclass(frozen=True)
class OrgSource:
    """One org in one revision of the source tree: its own file, and the files of the pass's scope.

    `names` are the tasks that were looked for, None where all were: of any other it is unknown,
    not false, that it has a file. `remaining` is how many tasks have one. `problem` says why the
    tasks cannot be listed; the files are then those that were known before. `key` changes exactly
    when the org's file or one of its tasks does, or a history was left behind; `talos` exactly when
    a file below orgs/<org>/talos/ does.
    """

    revision: str
    org_file: SourceFile | None
    names: frozenset[str] | None
    files: dict[str, SourceFile]
    remaining: int
    key: tuple[str | None, str | None, str]
    problem: Problem | None = None
    talos: str = ""


class SourceTree(Protocol):
    """The source tree at the newest revision that may be followed."""

    mirror: Mirror

    @property
    def place(self) -> str:
        """The state repository as people may see it."""
        ...

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why the whole repository cannot be followed."""
        ...

    def faults_of(self, org: str) -> tuple[Fault, ...]:
        """The org's misplaced files."""
        ...

    def take(self, org: str, names: frozenset[str] | None) -> OrgSource:
        """The org, with the files of `names` (None: all of them) and of all that has changed since
        the org was last taken, so that no pass sees a part of a revision."""
        ...

    def current(self, org: str, task: str) -> SourceFile | None:
        """A task's file as it is now."""
        ...

    def held(self, revision: str, path: str, blob: str) -> bool:
        """Whether a revision of the followed history held a blob at a path."""
        ...

    def approvals(self, tip: str, since: str | None) -> Approvals:
        """What the commits up to `tip` approve."""
        ...

    def is_trusted(self, commit: str) -> bool:
        """Whether a commit's trailers count."""
        ...
