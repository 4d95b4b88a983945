"""The problems that an `org.json` contains."""

from __future__ import annotations

import json

import pytest

from guildnet.digest import readable_json
from guildnet.record import OrgRecord
from guildnet_dashboard.org_report import report_of


def test_every_kind_of_problem_is_complete() -> None:
    """I10: every problem names its file and line or its object, its cause and its remedy."""
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
    found = [(p.kind, p.place, p.reason, p.task) for p in report.problems]
    assert found == [
        ("cluster", "cluster of acme", "Unreachable", ""),
        ("file", "tasks/acme/x.yaml:7", "Quarantined", ""),
        ("held", "tasks/acme/gone.yaml", "DeletionBudget", "gone"),
        ("fault", "tasks/acme/y.yaml", "ApplyFailed", "y"),
    ]
    assert report.problems[0].cure == "start it"
    assert (report.reachable, report.namespace, report.attempted) == (False, "agents", "a" * 40)


def test_files_without_a_valid_version_differ_from_those_with_one() -> None:
    """I10: the task shows the first error of its file; the problems list all of them."""
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
    assert "last valid version stays in effect" in cures[f"{kept}:2"]
    assert "nothing runs from it" in cures[f"{bad}:9"]


def test_missing_fields_are_unknown() -> None:
    report = report_of(b"{}", "acme")
    assert report.reachable is None
    assert report.problems == ()


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", json.dumps("x").encode()])
def test_a_record_that_cannot_be_read_is_a_problem(data: bytes) -> None:
    """I10: an unreadable org.json is reported with its path."""
    (problem,) = report_of(data, "acme").problems
    assert problem.reason == "Unreadable"
    assert problem.place == "orgs/acme/org.json"


def test_machines_that_are_not_as_git_says_are_problems_with_a_cure() -> None:
    """I10: one that was not compared yet is not one."""
    states = ("inSync", "drifted", "unreachable", "unknown")
    machines = [
        {"address": f"10.0.0.{n}", "role": "worker", "state": state, "changedLines": n}
        for n, state in enumerate(states)
    ]
    record = OrgRecord("acme", talos={"reconcile": "report", "machines": machines})
    report = report_of(readable_json(record.to_json()), "acme")
    found = [(p.kind, p.place, p.reason, p.message) for p in report.problems]
    assert found == [
        ("machine", "machine 10.0.0.1", "Drifted", "drifted, 1 changed line"),
        ("machine", "machine 10.0.0.2", "Unreachable", "unreachable, 2 changed lines"),
    ]
    assert "guildnet talos diff acme" in report.problems[0].cure


def test_machines_that_cannot_be_compared_are_one_problem() -> None:
    section = {"reconcile": "apply", "problem": {"message": "no talosctl", "cure": "install it"}}
    report = report_of(readable_json(OrgRecord("acme", talos=section).to_json()), "acme")
    assert [(p.message, p.cure) for p in report.problems] == [("no talosctl", "install it")]
