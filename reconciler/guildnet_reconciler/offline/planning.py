"""What going from one revision to another would do, decided as a pass decides it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildnet import labels
from guildnet.errors import InvalidResource, Problem, RefNotFound
from guildnet.loading import MAX_FILE_BYTES, parse_path
from guildnet.merge import RunRef, agent_task
from guildnet.record import TaskRecord
from guildnet.resources import Org, Task, org_path
from guildnet_reconciler.offline.tree import Tree, read_tree
from guildnet_reconciler.offline.validation import read_work_tree
from guildnet_reconciler.source.index import SourceFile, SourceIndex
from guildnet_reconciler.steps.differences import FieldChange, differing
from guildnet_reconciler.steps.guard import Guarded, guard_deletions, guard_move
from guildnet_reconciler.steps.observe import ObservedTask, observe
from guildnet_reconciler.steps.plan import Entry, Situation, plan

if TYPE_CHECKING:
    from guildnet.git import Mirror
    from guildnet_reconciler.source.approvals import Approvals

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One line of `guildnet plan`.

    `action` is create, update, delete, quarantine, warn, misplaced or hold (`task` "" for a whole
    org, `org` "" for what belongs to none); `held` says why it would not be done; `fields` are the
    places that an update changes.
    """

    org: str
    task: str
    action: str
    reason: str = ""
    held: str | None = None
    fields: tuple[FieldChange, ...] = ()


def plan_between(repo: Path, from_rev: str | None, to_rev: str) -> list[PlanRow]:
    """What going from one revision of a local repository to another would do, org by org.

    `from_rev` None plans from nothing. Revisions are in git's own syntax (HEAD~1, main, an id).
    Raises RefNotFound for one that is not there.
    """
    from guildnet_reconciler.source.approvals import Approvals

    with _mirror_of(repo) as mirror:
        new = _tree_at(mirror, to_rev)
        old = _tree_at(mirror, from_rev) if from_rev is not None else Tree(SourceIndex(""))
        approvals = Approvals(mirror, new.index.revision, old.index.revision or None)
        return plan_trees(old, new, approvals)


@contextmanager
def _mirror_of(repo: Path) -> Iterator[Mirror]:
    # `guildnet validate` comes through this package too, and needs no git.
    from guildnet.git import Mirror, git_dir_of

    git_dir = git_dir_of(str(repo))
    if git_dir is None:
        raise RefNotFound("this folder is not a git repository", place=str(repo))
    mirror = Mirror(str(repo), git_dir, None)
    try:
        yield mirror
    finally:
        mirror.close()


def plan_trees(old: Tree, new: Tree, approvals: Approvals | None) -> list[PlanRow]:
    """The same for two trees that are read; without `approvals` nothing is approved."""
    rows: list[PlanRow] = []
    for org in sorted(old.index.known_orgs() | new.index.known_orgs()):
        rows += _misplaced_rows(org, new.index.problems_of(org))
        rows += _org_rows(org, old, new, approvals)
    return [*rows, *_misplaced_rows("", new.index.problems_of_no_org())]


def plan_work_tree(root: Path, from_rev: str | None = None) -> list[PlanRow]:
    """What the files of a checkout would do if they were committed: on top of a revision, or
    (None) as the first commit. Nothing is approved. Raises RefNotFound as `plan_between`."""
    new = read_work_tree(root)
    if from_rev is None:
        return plan_trees(Tree(SourceIndex()), new, None)
    with _mirror_of(root) as mirror:
        old = _tree_at(mirror, from_rev)
    _share_files(old, new)
    return plan_trees(old, new, None)


def _share_files(old: Tree, new: Tree) -> None:
    """Take the files of tasks that say the same from the old tree: the files of a checkout have no
    blob ids, and would all look edited. An edit of comments alone is not seen."""
    for org, tasks in new.tasks.items():
        for name, task in tasks.items():
            before = old.tasks.get(org, {}).get(name)
            if before is not None and (before.spec, before.labels) == (task.spec, task.labels):
                new.index.tasks[org][name] = old.index.tasks[org][name]
                tasks[name] = before


def _misplaced_rows(org: str, problems: list[Problem]) -> Iterator[PlanRow]:
    for problem in problems:
        name = problem.path.rpartition("/")[2]
        yield PlanRow(org, name, "misplaced", str(problem))


def _tree_at(mirror: Mirror, revision: str) -> Tree:
    from guildnet_reconciler.source.git_tree import GitTree

    found = mirror.lookup(f"{revision}^{{commit}}")
    if found is None:
        raise RefNotFound(f"the revision {revision} does not exist", place=mirror.place)
    index = SourceIndex.of(found.id, GitTree(mirror, found.id))
    return read_tree(index, lambda ids: mirror.read_blobs(ids, max_bytes=MAX_FILE_BYTES))


def _org_rows(name: str, old: Tree, new: Tree, approvals: Approvals | None) -> Iterator[PlanRow]:
    before, after = old.orgs.get(name), new.orgs.get(name)
    paths = {org_path(name), *(file.path for file in new.index.tasks.get(name, {}).values())}
    problems = [p for p in new.problems if p.path in paths]
    good = {task.source.path for task in new.tasks.get(name, {}).values()} - new.unusable
    yield from _problem_rows(name, problems, good)
    org = after or before
    if org is None:
        return
    unlisted = new.index.unlisted.get(name)
    if unlisted is not None:
        yield PlanRow(name, "", "hold", "TasksUnreadable", str(unlisted))
        return
    if before is not None and after is not None:
        move = guard_move(
            before.cluster,
            after.cluster,
            org=name,
            left_behind=len(old.tasks.get(name, {})),
            approved=before.cluster != after.cluster
            and approvals is not None
            and approvals.is_move_approved(name),
        )
        if move is not None:
            yield PlanRow(name, "", "hold", move.reason, move.message)
    yield from _task_rows(org, old, new, approvals, vanished=name not in new.index.orgs)


def _problem_rows(org: str, problems: list[Problem], good: Collection[str]) -> Iterator[PlanRow]:
    """A file that cannot be used is quarantined; one that never starts is only reported."""
    for problem in problems:
        identity = parse_path(problem.path)
        task = (identity.task if identity else "") or ""
        yield PlanRow(org, task, "warn" if problem.path in good else "quarantine", str(problem))


def _task_rows(
    org: Org, old: Tree, new: Tree, approvals: Approvals | None, *, vanished: bool
) -> Iterator[PlanRow]:
    olds, news = old.tasks.get(org.name, {}), new.tasks.get(org.name, {})
    files = {} if vanished else new.index.tasks.get(org.name, {})
    before_org = old.orgs.get(org.name, org)
    changes = plan(
        org,
        (
            _situation(before_org, name, files.get(name), olds.get(name), news.get(name))
            for name in sorted(olds.keys() | files.keys())
        ),
        _EPOCH,
    )
    guarded = _guarded(org, changes.having("delete"), olds, files, approvals, vanished=vanished)
    held = {hold.task: f"{hold.reason}: {hold.message}" for hold in guarded.held}
    gone = {olds[e.task].run_digest: e.task for e in changes.having("delete")}
    for entry in changes.entries:
        yield _row(org.name, entry, held=held.get(entry.task), olds=olds, news=news, gone=gone)
    # A bad file has no task here, but its last good version may have one in the cluster.
    for name in sorted(old.index.tasks.get(org.name, {}).keys() - olds.keys() - files.keys()):
        yield PlanRow(org.name, name, "delete", "Removed: the file that goes was bad")


def _guarded(
    org: Org,
    deletions: tuple[Entry, ...],
    olds: Mapping[str, Task],
    files: Mapping[str, SourceFile],
    approvals: Approvals | None,
    *,
    vanished: bool,
) -> Guarded:
    """What the guard holds, asking for approvals only where it holds anything."""

    def guarded(released: Collection[str]) -> Guarded:
        return guard_deletions(
            deletions,
            org=org.name,
            recorded=len(olds),
            remaining=len(files),
            policy=org.prune,
            org_vanished=vanished,
            released=released,
        )

    first = guarded(())
    held = [hold.task for hold in first.held]
    if not held or approvals is None:
        return first
    return guarded(approvals.released_deletions(org.name, held, org_vanished=vanished))


def _row(
    org: str,
    entry: Entry,
    *,
    held: str | None,
    olds: Mapping[str, Task],
    news: Mapping[str, Task],
    gone: Mapping[str, str],
) -> PlanRow:
    reason = entry.reason
    fields: tuple[FieldChange, ...] = ()
    if entry.action == "update":
        fields = differing(olds[entry.task].spec, news[entry.task].spec)
    elif entry.action == "create":
        renamed = gone.get(news[entry.task].run_digest)
        if renamed is not None:
            reason = f"New: the same as {renamed!r}, which is deleted; a renamed task is a new task"
    return PlanRow(org, entry.task, entry.action, reason, held, fields)


def _situation(
    org: Org, name: str, file: SourceFile | None, old: Task | None, new: Task | None
) -> Situation:
    if old is None:
        return Situation(name, file=file, task=new)
    observed = as_if_applied(org, old)
    known = TaskRecord(old.org, old.name, 1, old.run_digest)
    task = new if new is not None else old
    return Situation(
        name, file=file, task=task if file else None, observed=observed, recorded=known
    )


def as_if_applied(org: Org, task: Task, run: int = 1) -> ObservedTask | None:
    """The AgentTask as it would stand in a cluster that has nothing else; None where it cannot."""
    try:
        obj: dict[str, Any] = agent_task(org, task, RunRef(run))
    except InvalidResource:
        return None
    owned: dict[str, Any] = {f"f:{key}": {} for key in obj["metadata"]["labels"]}
    obj["metadata"] |= {
        "uid": task.name,
        "resourceVersion": "1",
        "managedFields": [
            {
                "manager": labels.RECONCILER,
                "operation": "Apply",
                "fieldsV1": {"f:metadata": {"f:labels": owned}},
            }
        ],
    }
    return observe(obj, org.name)
