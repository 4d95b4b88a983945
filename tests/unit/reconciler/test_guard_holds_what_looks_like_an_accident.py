"""The guard: budgets, emptied orgs, vanished org files, moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.record import OrgRecord
from guildnet.resources import ClusterRef, PrunePolicy
from guildnet_reconciler.org.state import TaskFindings
from guildnet_reconciler.steps.guard import Guarded, Hold, guard_deletions, guard_move
from guildnet_reconciler.steps.plan import Entry


def deletions(count: int) -> list[Entry]:
    return [Entry("delete", f"t{number}", "SourceRemoved") for number in range(count)]


def guarded(
    count: int, recorded: int, policy: PrunePolicy | None = None, *, released: int = 0
) -> Guarded:
    return guard_deletions(
        deletions(count),
        org="acme",
        recorded=recorded,
        remaining=recorded - count,
        policy=policy or PrunePolicy(),
        released={f"t{number}" for number in range(released)},
    )


@pytest.mark.parametrize(
    ("count", "recorded", "allowed"),
    [(5, 8, 5), (6, 8, 0), (20, 100, 20), (21, 100, 0), (1, 1, 1), (2, 2, 0)],
)
def test_the_budget(count: int, recorded: int, allowed: int) -> None:
    """max(minObjects, a fifth); all of an org with more than one are always held."""
    assert len(guarded(count, recorded).allowed) == allowed


def test_a_release_lets_go_what_it_names_and_no_more() -> None:
    found = guarded(10, 20, released=3)
    assert {entry.task for entry in found.allowed} == {"t0", "t1", "t2"}
    assert len(found.held) == 7
    assert "Approve-Deletions: acme" in found.held[0].message


def test_pruning_switched_off_keeps_everything() -> None:
    found = guarded(1, 20, PrunePolicy(enabled=False), released=1)
    assert found.allowed == ()
    assert found.held[0].reason == "PruneDisabled"


def test_a_vanished_org_file_holds_even_one() -> None:
    found = guard_deletions(
        deletions(1), org="acme", recorded=1, remaining=0, policy=PrunePolicy(), org_vanished=True
    )
    assert found.held[0].reason == "OrgRemoved"


@given(
    count=st.integers(0, 60),
    kept=st.integers(0, 60),
    percent=st.integers(0, 100),
    least=st.integers(0, 20),
    released=st.integers(0, 60),
)
def test_no_step_deletes_more_than_its_budget(
    count: int, kept: int, percent: int, least: int, released: int
) -> None:
    """I1: unapproved deletions stay within the budget, and every deletion is in one group."""
    policy = PrunePolicy(True, percent, least)
    found = guarded(count, count + kept, policy, released=released)
    unapproved = [e for e in found.allowed if int(e.task[1:]) >= released]
    assert len(unapproved) <= policy.budget(count + kept)
    assert len(found.allowed) + len(found.held) == count


A, B = ClusterRef("acme", "agents"), ClusterRef("acme", "other")


@pytest.mark.parametrize(
    ("recorded", "left", "approved", "is_held"),
    [
        (None, 0, False, False),
        (A, 0, False, False),
        (B, 0, False, False),
        (B, 3, False, True),
        (B, -1, False, True),
        (B, 3, True, False),
    ],
)
def test_a_move_starts_nothing_while_the_old_place_has_work(
    recorded: ClusterRef | None, left: int, approved: bool, is_held: bool
) -> None:
    """I1: a location that cannot be asked may still have AgentTasks."""
    hold = guard_move(recorded, A, org="acme", left_behind=left, approved=approved)
    assert (hold is not None) == is_held


def test_a_restart_takes_over_the_held_deletions_of_the_record() -> None:
    """The record changes, and people are notified, only if the next pass decides otherwise."""
    hold = Hold("t1", "TooManyDeletions", "approve it")
    whole_org = Hold("", "MoveHeld", "approve it")
    bad = {"task": 1, "reason": "x", "message": "y"}
    record = OrgRecord("acme", held=(hold.to_json(), whole_org.to_json(), bad))
    findings = TaskFindings()
    findings.remember(record)
    assert findings.held == {"t1": hold}
