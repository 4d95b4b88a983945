"""Filtering, sorting and paginating the tasks of an org."""

from __future__ import annotations

from guildnet_dashboard.snapshot import OrgView, TaskRow
from guildnet_dashboard.states import State, TaskSummary, total_counts
from guildnet_dashboard.task_list import TaskQuery, newest_rows, select_page


def org(*rows: tuple[str, State, str]) -> OrgView:
    tasks = {
        name: TaskRow(
            "acme", name, TaskSummary("b", state, reason="Why", run=len(name), updated=updated)
        )
        for name, state, updated in rows
    }
    counts: dict[State, int] = {}
    for row in tasks.values():
        counts[row.state] = counts.get(row.state, 0) + 1
    return OrgView("acme", tasks=tasks, counts=counts)


ACME = org(
    ("done-late", State.SUCCEEDED, "2026-11-22T12:00:00Z"),
    ("done-early", State.SUCCEEDED, "2026-11-22T10:00:00Z"),
    ("runs", State.RUNNING, "2026-11-22T11:00:00Z"),
    ("stuck", State.STALLED, "2026-11-22T09:00:00Z"),
)


def names(query: TaskQuery) -> list[str]:
    return [row.name for row in select_page(ACME, query).rows]


def test_stalled_tasks_come_first_by_default() -> None:
    assert names(TaskQuery()) == ["stuck", "runs", "done-late", "done-early"]


def test_sorting_both_ways() -> None:
    assert names(TaskQuery(sort="name")) == ["done-early", "done-late", "runs", "stuck"]
    assert names(TaskQuery(sort="-updated"))[0] == "done-late"
    assert names(TaskQuery(sort="updated"))[0] == "stuck"


def test_filter_by_state_and_text() -> None:
    assert names(TaskQuery(states=(State.SUCCEEDED,), text="LATE")) == ["done-late"]
    assert names(TaskQuery(text="why", sort="name")) == names(TaskQuery(sort="name"))
    assert names(TaskQuery(text="no such")) == []


def test_page_numbers_past_the_end_give_the_last_page() -> None:
    page = select_page(ACME, TaskQuery(sort="name", page=2, per_page=3))
    assert [row.name for row in page.rows] == ["stuck"]
    assert (page.total, page.number, page.last) == (4, 2, 2)
    assert select_page(ACME, TaskQuery(page=99, per_page=3)).number == 2


def test_newest_tasks_of_all_orgs() -> None:
    rows = newest_rows([ACME, OrgView("empty")], (State.SUCCEEDED, State.STALLED))
    assert [row.name for row in rows] == ["done-late", "done-early", "stuck"]


def test_counts_add_up() -> None:
    total = total_counts([ACME.counts, ACME.counts])
    assert total[State.SUCCEEDED] == 4
    assert total[State.FAILED] == 0
