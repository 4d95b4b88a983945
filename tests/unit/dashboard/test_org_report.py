"""`org.json` to problems with their places and cures."""

from __future__ import annotations

import json

import pytest

from guildnet.digest import readable_json
from guildnet.record import OrgRecord
from guildnet_dashboard.org_report import report_of


def test_every_kind_of_problem_has_place_cause_and_cure() -> None:
    """I10: what is quarantined, held, failed or dead is told with file and line, or object."""
    record = OrgRecord(
        "acme",
        attempted="a" * 40,
        cluster={"reachable": False, "message": "no answer", "cure": "start it"},
        location={"kubeconfig": "acme", "namespace": "agents"},
        quarantined=({"path": "tasks/acme/x.yaml", "line": 7, "message": "not YAML"},),
        held=({"task": "gone", "reason": "DeletionBudget", "message": "too many"},),
        faults=({"reason": "ApplyFailed", "message": "denied", "task": "y"},),
    )
    report = report_of(readable_json(record.to_json()), "acme")
    told = [(t.kind, t.place, t.reason, t.task) for t in report.problems]
    assert told == [
        ("cluster", "cluster of acme", "Unreachable", ""),
        ("file", "tasks/acme/x.yaml:7", "Quarantined", ""),
        ("held", "tasks/acme/gone.yaml", "DeletionBudget", "gone"),
        ("fault", "tasks/acme/y.yaml", "ApplyFailed", "y"),
    ]
    assert report.problems[0].cure == "start it"
    assert (report.reachable, report.namespace, report.attempted) == (False, "agents", "a" * 40)


def test_files_of_which_no_version_was_valid_are_told_from_those_in_force() -> None:
    """I10: only the first problem of a file is the row's; all of them are problems."""
    bad, kept = "tasks/acme/bad.yaml", "tasks/acme/kept.yaml"
    record = OrgRecord(
        "acme",
        quarantined=(
            {"path": "orgs/acme.yaml", "line": 1, "message": "no kind"},
            {"path": bad, "line": 7, "message": "unknown field"},
            {"path": bad, "line": 9, "message": "another"},
            {"path": kept, "line": 2, "message": "not YAML", "lastGoodBlob": "a" * 40},
            {"path": "tasks/globex/bad.yaml", "line": 1, "message": "another org's"},
        ),
    )
    report = report_of(readable_json(record.to_json()), "acme")
    assert report.invalid == {"bad": f"{bad}:7: unknown field"}
    assert report.is_invalid
    cures = {problem.place: problem.cure for problem in report.problems}
    assert "last good version stays in force" in cures[f"{kept}:2"]
    assert "nothing of it runs" in cures[f"{bad}:9"]


def test_absent_fields_are_unknown_not_guessed() -> None:
    report = report_of(b"{}", "acme")
    assert report.reachable is None
    assert report.problems == ()


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", json.dumps("x").encode()])
def test_a_record_that_cannot_be_read_is_a_problem(data: bytes) -> None:
    """I10: an unreadable org.json is told, with its place."""
    (problem,) = report_of(data, "acme").problems
    assert problem.reason == "Unreadable"
    assert problem.place == "orgs/acme/org.json"
