"""Step 6, guard: changes that need a person's approval. Pure.

The plan proposes; the guard holds back deletions that look like an accident (I1) and moves that
would run an org's work in two places. Creates and updates are never held by a deletion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from guildnet import labels
from guildnet.record import OrgRecord
from guildnet.resources import ClusterRef, PrunePolicy
from guildnet_reconciler.steps.plan import Entry


@dataclass(frozen=True, slots=True)
class Hold:
    """One thing held back; `task` is "" where the whole org is meant."""

    task: str
    reason: str
    message: str

    def to_json(self) -> dict[str, str]:
        return {"task": self.task, "reason": self.reason, "message": self.message}


def holds_in(record: OrgRecord) -> Iterator[Hold]:
    """The held deletions that a record lists. The next pass judges them again; until then they stay
    in the record, so that a restart neither removes nor notifies them."""
    for entry in record.held:
        texts = [entry.get(key) for key in ("task", "reason", "message")]
        match texts:
            case [str(task), str(reason), str(message)] if task:
                yield Hold(task, reason, message)


@dataclass(frozen=True, slots=True)
class Guarded:
    """Deletions that may be made now, and those that may not, each with its reason."""

    allowed: tuple[Entry, ...] = ()
    held: tuple[Hold, ...] = ()


def guard_deletions(
    deletions: Sequence[Entry],
    *,
    org: str,
    recorded: int,
    remaining: int,
    policy: PrunePolicy,
    org_vanished: bool = False,
    released: Collection[str] = (),
) -> Guarded:
    """Which of the deletions of one step may be made.

    `recorded` is how many tasks the org has on record, `remaining` how many its source tree
    still has; `released` names tasks whose deletion a commit approved.
    """
    if not policy.enabled:
        message = "prune.enabled is false: the AgentTask is kept; set it to true to delete it"
        return Guarded((), tuple(Hold(e.task, "PruneDisabled", message) for e in deletions))
    approved = tuple(entry for entry in deletions if entry.task in released)
    open_ones = tuple(entry for entry in deletions if entry.task not in released)
    why = _objection(
        len(open_ones), recorded, remaining, policy, org=org, org_vanished=org_vanished
    )
    if why is None:
        return Guarded(tuple(deletions), ())
    reason, message = why
    return Guarded(approved, tuple(Hold(entry.task, reason, message) for entry in open_ones))


def _objection(
    count: int,
    recorded: int,
    remaining: int,
    policy: PrunePolicy,
    *,
    org: str,
    org_vanished: bool,
) -> tuple[str, str] | None:
    cure = (
        f"write the line '{labels.APPROVE_DELETIONS}: {org}' into the message of a commit that "
        f"changes a file of {org}, or put the files back"
    )
    if not count:
        return None
    if org_vanished:
        return (
            "OrgRemoved",
            f"orgs/{org}.yaml is gone, and {count} of its tasks would be deleted: {cure}",
        )
    if remaining == 0 and recorded > 1:
        return "AllTasksRemoved", f"all {recorded} tasks of the org would be deleted: {cure}"
    budget = policy.budget(recorded)
    if count > budget:
        message = f"{count} of {recorded} tasks would be deleted, at most {budget} may be: {cure}"
        return "DeletionBudget", message
    return None


def guard_move(
    recorded: ClusterRef | None, wanted: ClusterRef, *, org: str, left_behind: int, approved: bool
) -> Hold | None:
    """Whether a changed cluster or namespace keeps the org from starting anything.

    `left_behind` is how many of its AgentTasks the old location still has; -1 if the cluster
    cannot be asked.
    """
    if recorded is None or recorded == wanted or approved or left_behind == 0:
        return None
    count = "an unknown number of" if left_behind < 0 else str(left_behind)
    message = (
        f"the org moved from {_location(recorded)} to {_location(wanted)}, but the old location "
        f"still has {count} AgentTasks: delete them there, or write the line "
        f"'{labels.APPROVE_MOVE}: {org}' into the message of a commit that changes a file of {org}"
    )
    return Hold("", "MoveHeld", message)


def _location(ref: ClusterRef) -> str:
    context = f" ({ref.context})" if ref.context else ""
    return f"{ref.kubeconfig}{context}/{ref.namespace}"
