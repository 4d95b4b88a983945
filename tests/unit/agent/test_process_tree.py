"""The command's processes are found in /proc."""

from __future__ import annotations

from guildnet_agent.shim.processes import Process, descendants, parse_stat


def test_process_names_with_parentheses_are_parsed() -> None:
    assert parse_stat("12 (a) S 1 (b)) Z 7 12 12 0") == Process(12, 7, True)
    assert parse_stat("3 (sh) S 1 3 3 0") == Process(3, 1, False)


def test_all_descendants_except_the_editors_belong_to_the_command() -> None:
    """An orphan that the shim adopted belongs to the command too."""
    shape = {1: 0, 2: 1, 20: 2, 21: 20, 5: 1, 50: 5, 6: 1, 99: 98}
    processes = {pid: Process(pid, parent, False) for pid, parent in shape.items()}
    found = {process.pid for process in descendants(processes, 1, spare=[2])}
    assert found == {5, 50, 6}
