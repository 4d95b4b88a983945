"""Step 3, diff: an index of the source tree, moved on by tree diffs. Cost follows the change (I5).

The index knows which blob each org's and task's file is, and nothing of their content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guildnet.errors import Problem
from guildnet.loading import parse_path, path_problem

if TYPE_CHECKING:
    from guildnet.git import Change, TreeEntry

PREFIXES = ("orgs", "tasks")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the source tree; `problem` where it is nothing we may read (a link)."""

    path: str
    blob: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class OrgChange:
    """What a new revision changes for one org: its own file, and which of its tasks."""

    org_file: bool = False
    tasks: frozenset[str] = frozenset()

    def after(self, earlier: OrgChange | None) -> OrgChange:
        """This change and an earlier one as one."""
        if earlier is None:
            return self
        return OrgChange(self.org_file or earlier.org_file, self.tasks | earlier.tasks)


@dataclass
class SourceIndex:
    """path -> blob of a whole source tree, by org. Moves forward by `advance` alone."""

    revision: str
    orgs: dict[str, SourceFile] = field(default_factory=dict)
    tasks: dict[str, dict[str, SourceFile]] = field(default_factory=dict)
    misplaced: dict[str, Problem] = field(default_factory=dict)

    @classmethod
    def of(cls, revision: str, entries: Iterable[TreeEntry]) -> SourceIndex:
        """The index of a tree listed in full; what the first pass starts from."""
        index = cls(revision)
        for entry in entries:
            index.put(SourceFile(entry.path, entry.blob, _unreadable(entry.kind)))
        return index

    def advance(self, revision: str, changes: Iterable[Change]) -> dict[str, OrgChange]:
        """Move on to `revision`, which differs by `changes`; what that means for each org."""
        org_files: set[str] = set()
        tasks: dict[str, set[str]] = {}
        for change in changes:
            if change.status == "D":
                self._drop(change.path)
            else:
                self.put(SourceFile(change.path, change.blob, _unreadable(change.kind)))
            identity = parse_path(change.path)
            if identity is None or path_problem(change.path) is not None:
                continue
            if identity.task is None:
                org_files.add(identity.org)
            else:
                tasks.setdefault(identity.org, set()).add(identity.task)
        self.revision = revision
        return {
            org: OrgChange(org in org_files, frozenset(tasks.get(org, ())))
            for org in org_files | tasks.keys()
        }

    def known_orgs(self) -> set[str]:
        """Every org that has a file or tasks."""
        return self.orgs.keys() | self.tasks.keys()

    def files_of(self, org: str) -> Mapping[str, SourceFile]:
        """The task files of an org by task name; do not keep it over an await."""
        return self.tasks.get(org, {})

    def put(self, file: SourceFile) -> None:
        """Take in one file, new or changed."""
        problem = path_problem(file.path)
        if problem is not None:
            self.misplaced[file.path] = problem
            return
        identity = parse_path(file.path)
        if identity is None:
            return
        if identity.task is None:
            self.orgs[identity.org] = file
        else:
            self.tasks.setdefault(identity.org, {})[identity.task] = file

    def _drop(self, path: str) -> None:
        self.misplaced.pop(path, None)
        identity = parse_path(path)
        if identity is None:
            return
        if identity.task is None:
            self.orgs.pop(identity.org, None)
            return
        remaining = self.tasks.get(identity.org, {})
        remaining.pop(identity.task, None)
        if not remaining:
            self.tasks.pop(identity.org, None)


def _unreadable(kind: str) -> str | None:
    if kind == "file":
        return None
    return f"a {kind}; only regular files are read, links are never followed"
