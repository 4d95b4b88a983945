"""The section `talos` of a record: the same findings are the same bytes, and any JSON is read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.digest import readable_json
from guildnet.record import MAX_RECORD_BYTES, MachineCondition, MachinesReport, MachineStatus
from guildnet.record.machines import MAX_LINES, MAX_MACHINES

DRIFTED = MachineStatus(
    "10.0.0.3",
    "worker",
    MachineCondition.DRIFTED,
    since="then",
    version="v1.13.0",
    message="m",
    cure="c",
    changed_lines=2,
    diff=("@@", "-  by: ***"),
    applied_at="before",
)
AWAY = MachineStatus("10.0.0.3", "worker", MachineCondition.UNREACHABLE, message="port 40001")


def test_a_report_is_read_as_it_was_written() -> None:
    report = MachinesReport("apply", (DRIFTED,), "", "", (("os", "2036"),))
    assert MachinesReport.from_json(report.to_json()) == report
    failed = MachinesReport("apply", problem="no talosctl", cure="install it")
    assert MachinesReport.from_json(failed.to_json()) == failed


def test_the_largest_org_fits_into_a_record() -> None:
    """I9: with long messages and diffs everywhere."""
    one = replace(DRIFTED, message="m" * 9000, cure="c" * 9000, diff=("x" * 9000,) * 500)
    many = tuple(replace(one, address=f"{n:0253}") for n in range(2 * MAX_MACHINES))
    report = MachinesReport("apply", many, "p" * 9000, "c" * 9000, (("n" * 64, "e" * 64),) * 99)
    content = readable_json(report.to_json())
    assert len(content) < MAX_RECORD_BYTES * 0.9
    found = MachinesReport.from_json(report.to_json())
    assert found is not None
    assert sum(len(machine.diff) for machine in found.machines) == MAX_LINES
    assert len(found.machines) == MAX_MACHINES


def test_an_outage_keeps_its_first_message_and_its_beginning() -> None:
    """Each try has another port in its message: the record would change at each check."""
    first = AWAY.after(DRIFTED, "t1")
    assert (first.since, first.message, first.applied_at) == ("t1", "port 40001", "before")
    again = replace(AWAY, message="port 40002").after(first, "t2")
    assert again == first
    back = replace(AWAY, state=MachineCondition.IN_SYNC, message="").after(again, "t3")
    assert (back.since, back.message) == ("t3", "")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["drifted"]),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(
            st.sampled_from(["reconcile", "machines", "address", "state", "diff", "problem"])
            | st.text(max_size=4),
            below,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(ANY)
def test_any_json_is_read_without_an_error(section: object) -> None:
    """I9: the branch is a file that others can write, too."""
    report = MachinesReport.from_json(section)
    if report is not None:
        readable_json(report.to_json())
        assert all(machine.summary for machine in report.machines)


@pytest.mark.parametrize("section", [None, [], {}, {"reconcile": 3}, "report"])
def test_what_is_not_a_section_is_none(section: object) -> None:
    assert MachinesReport.from_json(section) is None
