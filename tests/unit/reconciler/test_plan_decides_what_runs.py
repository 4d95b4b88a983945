"""The plan: what runs, what runs again, and what never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from guildnet.merge import RunRef, agent_task
from guildnet.record import Removed, TaskRecord
from guildnet.resources import Org, Task
from guildnet_reconciler.offline.planning import as_if_applied
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.steps.observe import ObservedTask
from guildnet_reconciler.steps.plan import Entry, Situation, needs_loading, plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MakeTask = Callable[..., Task]


def entry(org: Org, situation: Situation) -> Entry | None:
    changes = plan(org, [situation], NOW)
    assert len(changes.entries) <= 1
    return changes.entries[0] if changes.entries else None


def file_of(task: Task) -> SourceFile:
    return SourceFile(task.source.path, task.source.blob)


def live(org: Org, task: Task, run: int = 1) -> ObservedTask:
    observed = as_if_applied(org, task, run)
    assert observed is not None
    return observed


def record(task: Task, run: int = 1, result: str | None = None) -> TaskRecord:
    return TaskRecord(task.org, task.name, run, task.run_digest, result=result)


def test_what_is_as_committed_is_left_alone(org: Org, make_task: MakeTask) -> None:
    """I4: nothing is read and nothing written where the digests agree."""
    task = make_task()
    situation = Situation("fix", file_of(task), observed=live(org, task), recorded=record(task))
    assert not needs_loading(org, situation)
    assert entry(org, situation) is None
    assert entry(org, replace(situation, task=task)) is None


def test_other_words_are_the_next_run(org: Org, make_task: MakeTask) -> None:
    before, after = make_task(), make_task(prompt="something else", blob="b2")
    found = entry(
        org,
        Situation("fix", file_of(after), after, live(org, before), record(before), continues="x/y"),
    )
    assert found is not None
    assert (found.action, found.reason, found.run) == ("update", "NewRun", 2)
    assert found.object is not None
    assert found.object["spec"]["continues"] == "x/y"


def test_other_fields_change_in_place(org: Org, make_task: MakeTask) -> None:
    before, after = make_task(), make_task(blob="b2", more="  priority: 7\n")
    found = entry(org, Situation("fix", file_of(after), after, live(org, before), record(before)))
    assert found is not None
    assert (found.action, found.reason, found.run) == ("update", "Edited", 1)


def test_new_defaults_reach_only_what_is_not_over(org: Org, make_task: MakeTask) -> None:
    task = make_task()
    other = replace(org, spec={**org.spec, "agent": {**org.agent_defaults, "image": "x:2"}})
    going = Situation("fix", file_of(task), task, live(org, task), record(task))
    found = entry(other, going)
    assert found is not None
    assert (found.reason, found.run) == ("DefaultsChanged", 1)
    over = replace(going, recorded=record(task, result="TaskSucceeded"))
    assert not needs_loading(other, over)
    assert entry(other, over) is None


def test_drift_names_who_made_it(org: Org, make_task: MakeTask) -> None:
    """I10: git wins, and the message names the other field manager."""
    task = make_task()
    drifted = replace(live(org, task), actual_digest="sha256:other", others=("kubectl-edit",))
    situation = Situation("fix", file_of(task), observed=drifted, recorded=record(task))
    assert needs_loading(org, situation)
    found = entry(org, replace(situation, task=task))
    assert found is not None
    assert found.reason == "Drift"
    assert "kubectl-edit" in found.message


def test_drift_names_what_was_changed(org: Org, make_task: MakeTask) -> None:
    """I10: the message names fields of the spec, our labels or our finalizer."""
    task = make_task()
    spec = agent_task(org, task, RunRef(1))["spec"]
    drifted = replace(live(org, task), actual_digest="sha256:other")
    for changed, reported in (
        (replace(drifted, found={**spec, "prompt": "mine", "timeout": "1h"}), "prompt, spec.t"),
        (replace(drifted, found=spec), "our labels were"),
        (replace(live(org, task), finalizers=()), "our finalizer was"),
    ):
        known = record(task)
        assert needs_loading(org, Situation("fix", file_of(task), None, changed, known))
        found = entry(org, Situation("fix", file_of(task), task, changed, known))
        assert found is not None
        assert (found.reason, reported in found.message) == ("Drift", True), found.message


def test_a_run_number_written_in_the_cluster_is_ignored(org: Org, make_task: MakeTask) -> None:
    """I7: a finished run does not run again under a higher one."""
    task = make_task()
    renumbered = replace(live(org, task), run=9, actual_digest="sha256:other")
    over = record(task, result="TaskSucceeded")
    found = entry(org, Situation("fix", file_of(task), task, renumbered, over))
    assert found is not None
    assert (found.reason, found.run) == ("Drift", 1)


def test_what_is_not_ours_is_blocked_or_ignored(org: Org, make_task: MakeTask) -> None:
    """I2: ours by label, or by a UID that we recorded."""
    task = make_task()
    theirs = replace(live(org, task), owned=False)
    found = entry(org, Situation("fix", file_of(task), task, theirs))
    assert found is not None
    assert (found.action, found.reason) == ("block", "NotOwned")
    assert entry(org, Situation("fix", observed=theirs)) is None
    unlabelled = Situation("fix", file_of(task), task, theirs, record(task), theirs.uid)
    found = entry(org, unlabelled)
    assert found is not None
    assert (found.action, found.reason) == ("update", "Drift")


def test_a_finished_run_is_not_created_again(org: Org, make_task: MakeTask) -> None:
    """I7: neither by its record nor by its tombstone; a different prompt is the next run."""
    task = make_task()
    over = record(task, 3, "TaskFailed")
    assert entry(org, Situation("fix", file_of(task), task, recorded=over)) is None
    removed = Removed.of(over)
    changes = plan(org, [Situation("fix", file_of(task), task, removed=removed)], NOW)
    assert changes.entries == ()
    assert changes.restored == (removed,)
    again = make_task(more="  rerun: please\n", blob="b9")
    found = entry(org, Situation("fix", file_of(again), again, removed=removed))
    assert found is not None
    assert (found.action, found.run) == ("create", 4)


def test_a_finished_task_without_an_object_is_not_even_read(org: Org, make_task: MakeTask) -> None:
    """I5."""
    task = make_task()
    over = record(task, result="TaskSucceeded")
    situation = Situation("fix", file_of(task), recorded=over, recorded_blob="b1")
    assert not needs_loading(org, situation)
    assert needs_loading(org, replace(situation, recorded_blob="b0"))


def test_expiry_waits_for_the_record(org: Org, make_task: MakeTask) -> None:
    """I6: an AgentTask goes by its TTL only when the record knows how its run ended."""
    task = make_task()
    ended = replace(live(org, task), finished=True, expires_at=NOW - timedelta(seconds=1))
    unrecorded = Situation("fix", file_of(task), observed=ended, recorded=record(task))
    assert entry(org, unrecorded) is None
    found = entry(org, replace(unrecorded, recorded=record(task, result="TaskSucceeded")))
    assert found is not None
    assert found.action == "expire"


RESULTS = st.sampled_from([None, "TaskSucceeded", "TaskFailed", "Cancelled"])


@given(
    words=st.sampled_from(["a", "b"]),
    recorded=st.none() | st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 5), RESULTS),
    tombstone=st.none() | st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 5), RESULTS),
    alive=st.none() | st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 5)),
)
def test_runs_never_go_back(
    org: Org,
    make_task: MakeTask,
    *,
    words: str,
    recorded: tuple[str, int, str | None] | None,
    tombstone: tuple[str, int, str | None] | None,
    alive: tuple[str, int] | None,
) -> None:
    """I7: whatever is known, an object is created or updated only for a run that is not over, and
    whose number is not below any known one."""
    tasks = {word: make_task(prompt=word, blob=word) for word in ("a", "b")}
    known = record(tasks[recorded[0]], *recorded[1:]) if recorded else None
    removed = Removed.of(record(tasks[tombstone[0]], *tombstone[1:])) if tombstone else None
    observed = live(org, tasks[alive[0]], alive[1]) if alive else None
    task = tasks[words]
    changes = plan(
        org,
        [Situation("fix", file_of(task), task, observed, known, removed=removed)],
        NOW,
    )
    numbers = [thing.run for thing in (known, removed, observed) if thing is not None]
    for found in changes.entries:
        assert found.run >= max(numbers, default=1)
        if found.action == "create":
            for thing in (known, removed):
                if thing is not None and thing.run == found.run:
                    assert thing.result is None or thing.digest != task.run_digest
    if not changes.entries and observed is None:
        assert any(t is not None and t.result is not None for t in (known, removed))


@given(st.sets(st.sampled_from(["file", "observed", "known", "removed"])))
def test_only_what_left_the_source_is_deleted(
    org: Org, make_task: MakeTask, present: set[str]
) -> None:
    """I1: as long as the task has a file, good or bad, nothing of it is deleted."""
    task = make_task()
    situation = Situation(
        "fix",
        file_of(task) if "file" in present else None,
        observed=live(org, task) if "observed" in present else None,
        recorded=record(task) if "known" in present else None,
        removed=Removed.of(record(task)) if "removed" in present else None,
    )
    found = entry(org, situation)
    if "file" in present:
        assert found is None
    elif "observed" in present:
        assert found is not None
        assert found.action == "delete"
    elif "known" in present:
        assert found is not None
        assert found.action == "forget"
    else:
        assert found is None
