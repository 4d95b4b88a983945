"""Snapshots are made from changes alone, and say the same as ones made from everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guildnet_dashboard.org_report import OrgReport, report_of
from guildnet_dashboard.snapshot import Snapshot, StatusChange, problems_of
from guildnet_dashboard.states import ACTIVE, State, TaskSummary

ORGS = ("acme", "globex")
TASKS = ("a", "b", "c")
STATES = st.sampled_from([State.RUNNING, State.SUCCEEDED, State.STALLED])

reported = st.dictionaries(
    st.tuples(st.sampled_from(ORGS), st.sampled_from(TASKS)), STATES | st.none(), max_size=5
)
committed = st.dictionaries(
    st.tuples(st.sampled_from(ORGS), st.sampled_from(TASKS)),
    st.sampled_from(["1", "2"]) | st.none(),
    max_size=5,
)


def moved(
    base: Snapshot,
    status: dict[tuple[str, str], State | None],
    source: dict[tuple[str, str], str | None],
) -> Snapshot:
    changes = [
        StatusChange(org, task, TaskSummary(f"{state}", state) if state else None)
        for (org, task), state in status.items()
    ]
    files = [(f"tasks/{org}/{task}.yaml", blob) for (org, task), blob in source.items()]
    return base.moved(status="s", source="m", reported=changes, committed=files)


@settings(max_examples=40)
@given(st.lists(st.tuples(reported, committed), max_size=5))
def test_many_moves_equal_one(
    steps: list[tuple[dict[tuple[str, str], State | None], dict[tuple[str, str], str | None]]],
) -> None:
    """I5: what is moved on from changes is what a reading of everything gives."""
    stepwise = Snapshot()
    status: dict[tuple[str, str], State | None] = {}
    source: dict[tuple[str, str], str | None] = {}
    for reports, files in steps:
        stepwise = moved(stepwise, reports, files)
        status |= reports
        source |= files
    assert stepwise.orgs == moved(Snapshot(), status, source).orgs


def test_untouched_orgs_are_shared() -> None:
    """I5: a change of one org costs nothing for another."""
    before = moved(Snapshot(), {("acme", "a"): State.RUNNING, ("globex", "a"): State.RUNNING}, {})
    after = moved(before, {("acme", "a"): State.SUCCEEDED}, {})
    assert after.orgs["globex"] is before.orgs["globex"]
    assert before.orgs["acme"].counts == {State.RUNNING: 1}
    assert after.orgs["acme"].counts == {State.SUCCEEDED: 1}


def test_a_committed_task_is_pending_until_reported() -> None:
    """I10: a commit that nobody took up yet is seen at once."""
    snapshot = moved(Snapshot(), {}, {("acme", "a"): "1"})
    row = snapshot.orgs["acme"].tasks["a"]
    assert (row.state, row.reason) == (State.PENDING, "NotReported")


@pytest.mark.parametrize("source_first", [True, False])
def test_a_file_that_never_was_valid_is_invalid_until_it_is_mended(source_first: bool) -> None:
    """I10: it is not pending, since nothing will take it up."""
    words = "tasks/acme/a.yaml:3: unknown field"
    bad = StatusChange("acme", None, report=with_invalid(a=words, gone="x"))
    source = [("tasks/acme/a.yaml", "1"), ("tasks/acme/b.yaml", "1")]
    committed = Snapshot().moved(status="", source="m", reported=(), committed=source)
    snapshot = (
        committed.moved(status="s", source="m", reported=[bad], committed=())
        if source_first
        else Snapshot()
        .moved(status="s", source="", reported=[bad], committed=())
        .moved(status="s", source="m", reported=(), committed=source)
    )
    row = snapshot.orgs["acme"].tasks["a"]
    assert (row.state, row.reason, row.message) == (State.INVALID, "Quarantined", words)
    assert snapshot.orgs["acme"].counts == {State.INVALID: 1, State.PENDING: 1}
    assert State.INVALID not in ACTIVE
    again = snapshot.moved(
        status="s", source="n", reported=(), committed=[("tasks/acme/a.yaml", "2")]
    )
    assert again.orgs["acme"].tasks["a"].state is State.INVALID
    mended = again.moved(
        status="t",
        source="n",
        reported=[StatusChange("acme", None, report=with_invalid())],
        committed=(),
    )
    assert mended.orgs["acme"].counts == {State.PENDING: 2}


def test_a_task_with_a_record_keeps_its_state_when_its_file_turns_bad() -> None:
    running = moved(Snapshot(), {("acme", "a"): State.RUNNING}, {("acme", "a"): "1"})
    bad = StatusChange("acme", None, report=with_invalid(a="bad"))
    after = running.moved(status="s", source="m", reported=[bad], committed=())
    assert after.orgs["acme"].tasks["a"].state is State.RUNNING


def with_invalid(**invalid: str) -> OrgReport:
    return replace(report_of(b"{}", "acme"), invalid=invalid)


def test_tasks_without_an_org_file_are_a_problem() -> None:
    """I10: the missing org is named, with the cure."""
    snapshot = moved(Snapshot(), {}, {("acme", "a"): "1"})
    (problem,) = problems_of(snapshot.orgs["acme"])
    assert problem.reason == "OrgMissing"
    assert "orgs/acme.yaml" in problem.cure


def test_files_with_bad_names_are_no_tasks() -> None:
    """I9: a path that is no resource's never becomes a row or a link."""
    snapshot = Snapshot().moved(
        status="",
        source="m",
        reported=(),
        committed=[
            ("tasks/acme/<b>.yaml", "1"),
            ("tasks/acme/x/y.yaml", "1"),
            ("orgs/A.yaml", "1"),
        ],
    )
    assert snapshot.orgs == {}
