"""Planner, guard and record together, under every order of what people and clusters do.

I1: what has a file is not deleted, and what has none only within the budget or approved. I2: an
object that is not ours is neither changed nor deleted. I7: a run that is over does not run again,
and numbers only rise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from guildnet.record import Removed, TaskRecord, restored
from guildnet.resources import Org, PrunePolicy, Task
from guildnet_reconciler.offline.planning import as_if_applied
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.steps.guard import guard_deletions
from guildnet_reconciler.steps.observe import ObservedTask
from guildnet_reconciler.steps.plan import (
    Changeset,
    Entry,
    Situation,
    is_renumbered,
    needs_loading,
    plan,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("a", "b")
WORDS = ("one", "two")
POLICY = PrunePolicy(max_percent=0, min_objects=1)


def event(**given: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule, after which the reconciler may look, or not yet."""

    def decorate(happen: Callable[..., None]) -> Any:
        def and_look(self: World, *, look: bool, **values: Any) -> None:
            happen(self, **values)
            if look:
                self.reconcile()

        and_look.__name__ = happen.__name__
        make: Any = rule  # its overloads do not know of strategies by name
        return make(look=st.sampled_from((True, True, False)), **given)(and_look)

    return decorate


class World(RuleBasedStateMachine):
    """Git, a cluster and the records of one org; `over` are the runs whose result is recorded."""

    org: ClassVar[Org]
    make_task: ClassVar[Callable[..., Task]]

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Task] = {}
        self.objects: dict[str, ObservedTask] = {}
        self.records: dict[str, TaskRecord] = {}
        self.removed: dict[str, Removed] = {}
        self.over: set[tuple[str, int]] = set()
        self.foreign: dict[str, ObservedTask] = {}
        self.approved: set[str] = set()
        self.going: set[str] = set()
        self.made = 0

    # --- people -----------------------------------------------------------------------------

    @event(name=st.sampled_from(NAMES), words=st.sampled_from(WORDS), priority=st.integers(0, 1))
    def write(self, name: str, words: str, priority: int) -> None:
        blob, more = f"{name} {words} {priority}", f"  priority: {priority}\n"
        self.files[name] = self.make_task(name, words, blob=blob, more=more)
        self.approved.discard(name)

    @event(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.files.pop(name, None)

    @event()
    def approve(self) -> None:
        self.approved = set(NAMES) - self.files.keys()

    # --- the cluster ------------------------------------------------------------------------

    @event(name=st.sampled_from(NAMES), expired=st.booleans())
    def finish(self, name: str, expired: bool) -> None:
        """The operator reports the end of a run, and it is recorded."""
        found = self.objects.get(name)
        record = self.records.get(name)
        if found is None or name in self.foreign or record is None or record.run != found.run:
            return
        age = timedelta(hours=-1 if expired else 1)
        self.objects[name] = replace(found, finished=True, expires_at=NOW + age)
        self.records[name] = replace(record, result=record.result or "TaskSucceeded")
        self.over.add((name, found.run))

    @event(name=st.sampled_from(NAMES))
    def vanish(self, name: str) -> None:
        """The AgentTask is deleted, or lost with its cluster."""
        if name not in self.foreign:
            self.objects.pop(name, None)

    @event(name=st.sampled_from(NAMES), run=st.integers(1, 20))
    def renumber(self, name: str, run: int) -> None:
        found = self.objects.get(name)
        if found is not None and name not in self.foreign:
            self.objects[name] = replace(found, run=run, actual_digest="sha256:tampered")

    @event(name=st.sampled_from(NAMES))
    def take_label(self, name: str) -> None:
        """What we recorded is ours by its UID still."""
        found = self.objects.get(name)
        if found is not None and name in self.records and name not in self.foreign:
            self.objects[name] = replace(found, owned=False, actual_digest="sha256:tampered")

    @event(name=st.sampled_from(NAMES))
    def intrude(self, name: str) -> None:
        """Somebody makes an object of that name, not ours."""
        if name not in self.objects:
            made = as_if_applied(self.org, self.make_task(name, "theirs"))
            assert made is not None
            self.foreign[name] = self.objects[name] = replace(made, owned=False, uid="theirs")

    @event()
    def lift(self) -> None:
        """What is deleted goes."""
        self.objects = {n: found for n, found in self.objects.items() if found.deleting is None}

    # --- the reconciler ---------------------------------------------------------------------

    def reconcile(self) -> None:
        """One pass; what was written is recorded."""
        changes = plan(self.org, [self._situation(name) for name in NAMES], NOW)
        for entry in changes.entries:
            self._check(entry)
        self._prune(changes)
        for entry in changes.having("create", "update"):
            self._apply(entry)
        for entry in changes.having("expire"):
            assert (entry.task, self.records[entry.task].run) in self.over
            self._delete(entry.task)
        for tombstone in changes.restored:
            self.records[tombstone.task] = restored(tombstone)
            del self.removed[tombstone.task]

    @event()
    def restart(self) -> None:
        self.going = set()

    def _situation(self, name: str) -> Situation:
        task, record = self.files.get(name), self.records.get(name)
        situation = Situation(
            name,
            file=SourceFile(task.source.path, task.source.blob) if task else None,
            observed=self.objects.get(name),
            recorded=record,
            recorded_uid=record.uid if record else None,
            recorded_blob=record.source_blob if record else None,
            removed=self.removed.get(name),
        )
        return replace(situation, task=task) if needs_loading(self.org, situation) else situation

    def _check(self, entry: Entry) -> None:
        if entry.task in self.foreign:
            assert entry.action in ("block", "forget"), f"I2: {entry}"
        if entry.action in ("delete", "forget"):
            assert entry.task not in self.files, f"I1: {entry}"
        if entry.action == "create":
            assert (entry.task, entry.run) not in self.over, f"I7: {entry}"
        latest = self.records.get(entry.task) or self.removed.get(entry.task)
        if entry.action in ("create", "update") and latest is not None:
            is_same = latest.digest == self.files[entry.task].run_digest
            assert entry.run == latest.run + (not is_same), f"I7: {entry}"

    def _prune(self, changes: Changeset) -> None:
        gone = changes.having("delete", "forget")
        self.going &= {entry.task for entry in gone}
        undecided = [entry for entry in gone if entry.task not in self.going]
        recorded = len(self.records)
        guarded = guard_deletions(
            undecided,
            org=self.org.name,
            recorded=recorded,
            remaining=len(self.files),
            policy=POLICY,
            released=self.approved,
        )
        unasked = [entry.task for entry in guarded.allowed if entry.task not in self.approved]
        assert len(unasked) <= POLICY.min_objects, f"I1: {unasked}"
        if not self.files and recorded > 1:
            assert not unasked, f"I1: {unasked}"
        self.going |= {entry.task for entry in guarded.allowed}
        for entry in gone:
            if entry.task in self.going and entry.action == "delete":
                self._delete(entry.task)
            elif entry.task in self.going:
                self.removed[entry.task] = Removed.of(self.records.pop(entry.task))

    def _delete(self, name: str) -> None:
        self.objects[name] = replace(self.objects[name], deleting=NOW)

    def _apply(self, entry: Entry) -> None:
        task = self.files[entry.task]
        applied = as_if_applied(self.org, task, entry.run)
        assert applied is not None
        before = self.objects.get(entry.task)
        self.made += before is None
        uid = f"uid {self.made}" if before is None else before.uid
        is_same = before is not None and before.run == entry.run
        found = replace(applied, uid=uid, finished=is_same and (entry.task, entry.run) in self.over)
        self.objects[entry.task] = found
        self._record(found, task)

    def _record(self, found: ObservedTask, task: Task) -> None:
        record = self.records.get(found.name)
        assert not is_renumbered(found, record)
        if record is None or found.run > record.run:
            self.records[found.name] = TaskRecord(
                task.org,
                task.name,
                found.run,
                task.run_digest,
                uid=found.uid,
                source_blob=task.source.blob,
            )
            self.removed.pop(found.name, None)
        elif record.result is None:
            self.records[found.name] = replace(record, uid=found.uid)

    # --- what holds -------------------------------------------------------------------------

    @invariant()
    def what_is_over_stays_over(self) -> None:
        for name, record in self.records.items():
            assert record.result is not None or (name, record.run) not in self.over

    @invariant()
    def what_is_not_ours_is_as_it_was(self) -> None:
        for name, theirs in self.foreign.items():
            assert self.objects.get(name) == theirs


def test_whatever_comes_in_whatever_order(
    org: Org, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "org", org, raising=False)
    monkeypatch.setattr(World, "make_task", staticmethod(make_task), raising=False)
    run_state_machine_as_test(
        World, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )
