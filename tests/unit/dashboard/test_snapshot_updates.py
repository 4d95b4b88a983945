"""A snapshot built from changes equals one built from all files."""

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


def updated(
    base: Snapshot,
    status: dict[tuple[str, str], State | None],
    source: dict[tuple[str, str], str | None],
) -> Snapshot:
    changes = [
        StatusChange(org, task, TaskSummary(f"{state}", state) if state else None)
        for (org, task), state in status.items()
    ]
    files = [(f"tasks/{org}/{task}.yaml", blob) for (org, task), blob in source.items()]
    return base.with_changes(status="s", source="m", reported=changes, committed=files)


@settings(max_examples=40)
@given(st.lists(st.tuples(reported, committed), max_size=5))
def test_many_updates_equal_one(
    steps: list[tuple[dict[tuple[str, str], State | None], dict[tuple[str, str], str | None]]],
) -> None:
    """I5: incremental updates give the same result as one full read."""
    incremental = Snapshot()
    status: dict[tuple[str, str], State | None] = {}
    source: dict[tuple[str, str], str | None] = {}
    for reports, files in steps:
        incremental = updated(incremental, reports, files)
        status |= reports
        source |= files
    assert incremental.orgs == updated(Snapshot(), status, source).orgs


def test_untouched_orgs_are_shared() -> None:
    """I5: a change of one org does not copy another."""
    before = updated(Snapshot(), {("acme", "a"): State.RUNNING, ("globex", "a"): State.RUNNING}, {})
    after = updated(before, {("acme", "a"): State.SUCCEEDED}, {})
    assert after.orgs["globex"] is before.orgs["globex"]
    assert before.orgs["acme"].counts == {State.RUNNING: 1}
    assert after.orgs["acme"].counts == {State.SUCCEEDED: 1}


def test_a_committed_task_is_pending_until_reported() -> None:
    """I10: a committed task is visible before the reconciler reports on it."""
    snapshot = updated(Snapshot(), {}, {("acme", "a"): "1"})
    row = snapshot.orgs["acme"].tasks["a"]
    assert (row.state, row.reason) == (State.PENDING, "NotReported")


@pytest.mark.parametrize("source_first", [True, False])
def test_a_file_without_a_valid_version_is_invalid_until_corrected(source_first: bool) -> None:
    """I10: it is not pending, since no component will start it."""
    error = "tasks/acme/a.yaml:3: unknown field"
    bad = StatusChange("acme", None, report=with_invalid(a=error, gone="x"))
    source = [("tasks/acme/a.yaml", "1"), ("tasks/acme/b.yaml", "1")]
    committed = Snapshot().with_changes(status="", source="m", reported=(), committed=source)
    snapshot = (
        committed.with_changes(status="s", source="m", reported=[bad], committed=())
        if source_first
        else Snapshot()
        .with_changes(status="s", source="", reported=[bad], committed=())
        .with_changes(status="s", source="m", reported=(), committed=source)
    )
    row = snapshot.orgs["acme"].tasks["a"]
    assert (row.state, row.reason, row.message) == (State.INVALID, "Quarantined", error)
    assert snapshot.orgs["acme"].counts == {State.INVALID: 1, State.PENDING: 1}
    assert State.INVALID not in ACTIVE
    again = snapshot.with_changes(
        status="s", source="n", reported=(), committed=[("tasks/acme/a.yaml", "2")]
    )
    assert again.orgs["acme"].tasks["a"].state is State.INVALID
    corrected = again.with_changes(
        status="t",
        source="n",
        reported=[StatusChange("acme", None, report=with_invalid())],
        committed=(),
    )
    assert corrected.orgs["acme"].counts == {State.PENDING: 2}


def test_a_recorded_task_keeps_its_state_when_its_file_becomes_invalid() -> None:
    running = updated(Snapshot(), {("acme", "a"): State.RUNNING}, {("acme", "a"): "1"})
    bad = StatusChange("acme", None, report=with_invalid(a="bad"))
    after = running.with_changes(status="s", source="m", reported=[bad], committed=())
    assert after.orgs["acme"].tasks["a"].state is State.RUNNING


def with_invalid(**invalid: str) -> OrgReport:
    return replace(report_of(b"{}", "acme"), invalid=invalid)


def test_tasks_without_an_org_file_are_a_problem() -> None:
    """I10: the problem names the missing file."""
    snapshot = updated(Snapshot(), {}, {("acme", "a"): "1"})
    (problem,) = problems_of(snapshot.orgs["acme"])
    assert problem.reason == "OrgMissing"
    assert "orgs/acme.yaml" in problem.cure


def test_files_with_invalid_names_are_ignored() -> None:
    """I9: the path of anything else never becomes a task or a link."""
    snapshot = Snapshot().with_changes(
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
