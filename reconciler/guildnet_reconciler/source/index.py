"""Step 3, diff: an index of the source tree, moved on by the folders that have changed (I5).

The index knows the blob of each org's and each task's file, and nothing of their content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import intern

from guildnet.errors import Problem
from guildnet.loading import parse_path, path_problem
from guildnet.resources import org_path
from guildnet.talos.spec import patch_folder
from guildnet_reconciler.source.listing import (
    TOPS,
    Folder,
    Node,
    TreeReader,
    is_folder_of_an_org,
    list_changed,
    owner_of,
)

PREFIXES = TOPS


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the source tree; `problem` says why it may not be read (a link, a folder)."""

    path: str
    blob: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class OrgChange:
    """What a new revision changes for one org: its own file, which of its tasks, and whether any
    of its files about Talos machines."""

    org_file: bool = False
    tasks: frozenset[str] = frozenset()
    talos: bool = False

    def after(self, earlier: OrgChange | None) -> OrgChange:
        """This change and an earlier one as one."""
        if earlier is None:
            return self
        return OrgChange(
            self.org_file or earlier.org_file,
            self.tasks | earlier.tasks,
            self.talos or earlier.talos,
        )


@dataclass
class SourceIndex:
    """path -> blob of a whole source tree, by org. Moves on by `advance` alone.

    `misplaced` holds the problems of entries that are not where a resource can be, by the folder
    and the org that they belong to. `unlisted` names the orgs whose tasks cannot be listed, each
    with the reason; what was known of their tasks stays. `talos` holds the id of
    `orgs/<org>/talos/` for each org that has that folder.
    """

    revision: str = ""
    orgs: dict[str, SourceFile] = field(default_factory=dict)
    tasks: dict[str, dict[str, SourceFile]] = field(default_factory=dict)
    misplaced: dict[tuple[str, str], list[Problem]] = field(default_factory=dict)
    unlisted: dict[str, Problem] = field(default_factory=dict)
    talos: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The id of every folder as it was last listed."""

    @classmethod
    def of(cls, revision: str, tree: TreeReader) -> SourceIndex:
        """The index of a tree listed from nothing; what the first pass starts from."""
        index = cls()
        index.advance(revision, index.changed_in(tree))
        return index

    def changed_in(self, tree: TreeReader) -> dict[str, Folder]:
        """The folders of a revision that differ from this index; reads git and changes nothing."""
        return list_changed(tree, self.seen, self.known_orgs())

    def advance(self, revision: str, changed: Mapping[str, Folder]) -> dict[str, OrgChange]:
        """Move on to `revision`, whose `changed` folders were listed; what that means by org."""
        before = dict(self.talos)
        affected, org_files = self._take_tops(changed)
        tasks: dict[str, frozenset[str]] = {}
        if "tasks" in changed:
            tasks = self._take_task_folders(changed["tasks"])
        for path, folder in changed.items():
            top, _, org = path.partition("/")
            if org:
                affected |= self._replace_misplaced(path, org, _misplaced(path, folder))
                if top == "tasks":
                    tasks[org] = self._take_tasks(org, folder)
                else:
                    self._take_talos(org, folder)
            self.seen[path] = folder.id
        self.revision = revision
        talos = _differing(before, self.talos)
        gone = org_files | {org for org, names in tasks.items() if names}
        named = ((affected | tasks.keys() | talos) & self.known_orgs()) | gone
        return {
            org: OrgChange(org in org_files, tasks.get(org, frozenset()), org in talos)
            for org in sorted(named)
        }

    def known_orgs(self) -> set[str]:
        """Every org that has a file or tasks."""
        return self.orgs.keys() | self.tasks.keys() | self.unlisted.keys()

    def files_of(self, org: str) -> Mapping[str, SourceFile]:
        """The task files of an org by task name; do not keep it over an await."""
        return self.tasks.get(org, {})

    def problems_of(self, org: str) -> list[Problem]:
        """Problems of the org's misplaced files."""
        folders = (*TOPS, f"orgs/{org}", f"tasks/{org}")
        return sorted(p for folder in folders for p in self.misplaced.get((folder, org), ()))

    def problems_of_no_org(self) -> list[Problem]:
        """Problems of misplaced files of no known org."""
        known = self.known_orgs()
        return sorted(
            problem
            for (_, owner), problems in self.misplaced.items()
            if owner not in known
            for problem in problems
        )

    # --- orgs/ and tasks/ -------------------------------------------------------------------

    def _take_tops(self, changed: Mapping[str, Folder]) -> tuple[set[str], set[str]]:
        """Take in the entries of orgs/ and tasks/: the orgs whose misplaced entries have changed,
        and those whose file has."""
        affected: set[str] = set()
        org_files: set[str] = set()
        for top in (top for top in TOPS if top in changed):
            folder = changed[top]
            problems = _misplaced(top, folder)
            owners = {owner_of(problem.path) for problem in problems}
            for owner in owners | {owner for at, owner in self.misplaced if at == top}:
                own = [problem for problem in problems if owner_of(problem.path) == owner]
                affected |= self._replace_misplaced(top, owner, own)
            if top == "orgs":
                org_files = self._take_org_files(folder)
            if folder.entries is not None:
                present = {node.path for node in folder.entries}
                for path in [p for p in self.seen if p.startswith(f"{top}/") and p not in present]:
                    affected |= self._replace_misplaced(path, owner_of(path), [])
                    del self.seen[path]
                    if top == "orgs":
                        self.talos.pop(owner_of(path), None)
        return affected, org_files

    def _take_org_files(self, folder: Folder) -> set[str]:
        found: dict[str, SourceFile] = {}
        if folder.entries is None:
            problem = f"orgs: {folder.problem}"
            found = {org: SourceFile(org_path(org), "", problem) for org in self.orgs}
        for node in folder.entries or ():
            identity = parse_path(node.path)
            if identity is not None and path_problem(node.path) is None:
                found[identity.org] = _source_file(node)
        changed = _differing(self.orgs, found)
        self.orgs = found
        return set(changed)

    def _take_task_folders(self, folder: Folder) -> dict[str, frozenset[str]]:
        """Which orgs have a folder of tasks; its entries are taken in by themselves. The orgs for
        which that has changed, each with the tasks that are gone."""
        nodes = {node.name: node for node in folder.entries or ()}
        changed: dict[str, frozenset[str]] = {}
        for org in self.known_orgs():
            node = nodes.get(org)
            if folder.entries is not None and node is None:
                self.unlisted.pop(org, None)
                changed[org] = frozenset(self.tasks.pop(org, {}))
            elif node is None or node.kind != "folder":
                problem = folder.problem if node is None else f"a {node.kind} in place of a folder"
                changed[org] = self._keep_tasks(org, node.path if node else "tasks", problem)
                self.seen.pop(f"tasks/{org}", None)
        return changed

    def _take_talos(self, org: str, folder: Folder) -> None:
        """Take in the id of orgs/<org>/talos/, which every change below it changes."""
        if folder.entries is None:
            return
        path = patch_folder(org)
        found = next((node.id for node in folder.entries if node.path == path), None)
        if found is None:
            self.talos.pop(org, None)
        else:
            self.talos[org] = found

    # --- the tasks of one org ---------------------------------------------------------------

    def _take_tasks(self, org: str, folder: Folder) -> frozenset[str]:
        """Take in tasks/<org>/; which tasks have changed."""
        if folder.entries is None:
            return self._keep_tasks(org, f"tasks/{org}", folder.problem)
        self.unlisted.pop(org, None)
        found = {
            intern(node.name.removesuffix(".yaml")): _source_file(node)
            for node in folder.entries
            if parse_path(node.path) is not None and path_problem(node.path) is None
        }
        changed = _differing(self.tasks.get(org, {}), found)
        self.tasks[org] = found
        if not found:
            del self.tasks[org]
        return changed

    def _keep_tasks(self, org: str, path: str, problem: str) -> frozenset[str]:
        """Nothing is deleted because it could not be listed (I1)."""
        self.unlisted[org] = Problem(path, 0, f"{problem}; the org's tasks stay as they are")
        return frozenset()

    def _replace_misplaced(self, folder: str, owner: str, problems: list[Problem]) -> set[str]:
        """Take in the problems of one folder; its owner, where they have changed."""
        if self.misplaced.get((folder, owner), []) == problems:
            return set()
        self.misplaced[folder, owner] = problems
        if not problems:
            del self.misplaced[folder, owner]
        return {owner}


def _misplaced(path: str, folder: Folder) -> list[Problem]:
    """The problems of a folder's entries that can neither be a resource nor hold one."""
    found = [Problem(path, 0, folder.problem)] if folder.problem else []
    for node in folder.entries or ():
        # Other files in orgs/<org>/ are allowed; only a resource there is misplaced.
        if path.startswith("orgs/") and not node.name.endswith((".yaml", ".yml")):
            continue
        problem = None if is_folder_of_an_org(node) else path_problem(node.path)
        if problem is not None:
            shown = problem.path if len(problem.path) <= 300 else f"{problem.path[:297]}..."
            found.append(Problem(shown, 0, problem.message))
    return sorted(found)


def _source_file(node: Node) -> SourceFile:
    """Its texts are interned: what is known of the task's object and record holds the same ones."""
    if node.kind == "file":
        return SourceFile(intern(node.path), intern(node.id))
    problem = f"a {node.kind}; only regular files are read, links are never followed"
    return SourceFile(node.path, node.id, problem)


def _differing(old: Mapping[str, object], new: Mapping[str, object]) -> frozenset[str]:
    return frozenset(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
