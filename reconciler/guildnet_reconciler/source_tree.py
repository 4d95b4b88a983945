"""What an org's pass asks of the repository: its files as they are now, and what commits say."""

from __future__ import annotations

from typing import Protocol

from guildnet.git import Mirror
from guildnet_reconciler.approvals import Approvals
from guildnet_reconciler.org_state import Fault, OrgSource
from guildnet_reconciler.steps.diff import SourceFile


class SourceTree(Protocol):
    """The source tree at the newest revision that may be followed."""

    mirror: Mirror

    @property
    def place(self) -> str:
        """The state repository as people may see it."""
        ...

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What keeps the whole repository from being followed."""
        ...

    def faults_of(self, org: str) -> tuple[Fault, ...]:
        """What is misplaced among the org's files."""
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
