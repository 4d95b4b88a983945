"""A source tree read in full, and every problem in and between its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from guildnet.errors import InvalidResource, Problem
from guildnet.loading import Place, line_of, parse_yaml
from guildnet.merge import RunRef, agent_task
from guildnet.mesh import MeshSettings, mesh_settings, shared_tags
from guildnet.resources import Org, Task, org_path
from guildnet_reconciler.source.index import SourceFile, SourceIndex
from guildnet_reconciler.steps.load import BlobReader, load_org_file, load_tasks


@dataclass
class Tree:
    """Orgs and tasks that are good, and `problems` of the files that are not.

    `unusable` holds the paths of tasks that are good by themselves and not with their org's
    defaults.
    """

    index: SourceIndex
    orgs: dict[str, Org] = field(default_factory=dict)
    tasks: dict[str, dict[str, Task]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unusable: set[str] = field(default_factory=set)


def read_tree(index: SourceIndex, read: BlobReader) -> Tree:
    """Load every file of the index."""
    tree = Tree(index)
    for name, file in sorted(index.orgs.items()):
        org, bad = load_org_file(file, None, index.revision, read)
        if org is not None:
            tree.orgs[name] = org
        tree.problems += bad.problems if bad else ()
    for name, files in sorted(index.tasks.items()):
        loaded = load_tasks(files, lambda _bad: {}, index.revision, read)
        tree.tasks[name] = loaded.tasks
        for quarantined in loaded.quarantined.values():
            tree.problems += quarantined.problems
        if name in tree.orgs:
            unusable = list(_merge_problems(tree.orgs[name], loaded.tasks.values()))
            tree.problems += unusable
            tree.unusable |= {problem.path for problem in unusable}
        tree.problems += _dependency_problems(loaded.tasks, files, read)
        tree.problems += _orphans(name, files, tree)
    tree.problems += _shared_tags(tree, read)
    for problems in index.misplaced.values():
        tree.problems += problems
    tree.problems += index.unlisted.values()
    return tree


def mesh_orgs(orgs: Mapping[str, Org]) -> dict[str, MeshSettings]:
    """The mesh of each org that has one."""
    found = ((name, mesh_settings(name, org.spec.get("mesh"))) for name, org in orgs.items())
    return {name: mesh for name, mesh in found if mesh is not None}


def _shared_tags(tree: Tree, read: BlobReader) -> Iterator[Problem]:
    """Tags of agents that several orgs have: the people of one would reach the other's agents."""
    for org, tag, others in shared_tags(mesh_orgs(tree.orgs)):
        file = tree.index.orgs[org]
        line = line_of(_lines_of(file, read), ("spec", "mesh", "tags"))
        message = f"spec.mesh.tags: {tag} is also a tag of org {', '.join(others)}, whose people"
        yield Problem(file.path, line, f"{message} would reach these agents; use another tag")


def _orphans(org: str, files: Mapping[str, SourceFile], tree: Tree) -> list[Problem]:
    if org in tree.index.orgs:
        return []
    message = f"OrgMissing: there is no {org_path(org)}"
    return [Problem(file.path, 0, message) for file in files.values()]


def _merge_problems(org: Org, tasks: Iterable[Task]) -> Iterator[Problem]:
    for task in tasks:
        try:
            agent_task(org, task, RunRef(1))
        except InvalidResource as error:
            yield from error.problems


def _dependency_problems(
    tasks: Mapping[str, Task], files: Mapping[str, SourceFile], read: BlobReader
) -> Iterator[Problem]:
    depends_on = {name: tuple(task.spec.get("dependsOn", ())) for name, task in tasks.items()}
    for name, wanted in depends_on.items():
        missing = [(index, other) for index, other in enumerate(wanted) if other not in files]
        lines = _lines_of(files[name], read) if missing else {}
        for index, other in missing:
            message = f"spec.dependsOn[{index}]: the org has no task {other!r}"
            line = line_of(lines, ("spec", "dependsOn", index))
            yield Problem(files[name].path, line, message)
    for circle in dependency_circles(depends_on):
        around = " -> ".join((*circle, circle[0]))
        file = files[circle[0]]
        line = line_of(_lines_of(file, read), ("spec", "dependsOn"))
        yield Problem(file.path, line, f"spec.dependsOn: goes round in a circle: {around}")


def _lines_of(file: SourceFile, read: BlobReader) -> Mapping[Place, int]:
    """The line of each place in a file that is known to be readable."""
    _, _, content = next(iter(read([file.blob])))
    return parse_yaml(content or b"", file.path)[1]


def dependency_circles(depends_on: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """The circular dependencies, each reported once, starting at its first name in the alphabet."""
    circles: set[tuple[str, ...]] = set()
    done: set[str] = set()
    for start in sorted(depends_on):
        trail: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(depends_on[start]))]
        if start in done:
            continue
        trail.append(start)
        while stack:
            _, following = stack[-1]
            after = next(following, None)
            if after is None:
                stack.pop()
                done.add(trail.pop())
            elif after in trail:
                circle = trail[trail.index(after) :]
                first = circle.index(min(circle))
                circles.add(tuple(circle[first:] + circle[:first]))
            elif after in depends_on and after not in done:
                trail.append(after)
                stack.append((after, iter(depends_on[after])))
    return sorted(circles)
