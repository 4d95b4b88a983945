"""Which rows of an org a page shows."""

from __future__ import annotations

from guildnet_dashboard.snapshot import OrgView, TaskRow
from guildnet_dashboard.states import State, TaskSummary, tally_of
from guildnet_dashboard.task_list import Query, latest, listed


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


def names(query: Query) -> list[str]:
    return [row.name for row in listed(ACME, query).rows]


def test_what_needs_somebody_comes_first() -> None:
    assert names(Query()) == ["stuck", "runs", "done-late", "done-early"]


def test_sorting_both_ways() -> None:
    assert names(Query(sort="name")) == ["done-early", "done-late", "runs", "stuck"]
    assert names(Query(sort="-updated"))[0] == "done-late"
    assert names(Query(sort="updated"))[0] == "stuck"


def test_filter_by_state_and_text() -> None:
    assert names(Query(states=(State.SUCCEEDED,), text="LATE")) == ["done-late"]
    assert names(Query(text="why", sort="name")) == names(Query(sort="name"))
    assert names(Query(text="no such")) == []


def test_pages_cut_and_clamp() -> None:
    page = listed(ACME, Query(sort="name", page=2, per_page=3))
    assert [row.name for row in page.rows] == ["stuck"]
    assert (page.total, page.number, page.last) == (4, 2, 2)
    assert listed(ACME, Query(page=99, per_page=3)).number == 2


def test_latest_of_all_orgs() -> None:
    rows = latest([ACME, OrgView("empty")], (State.SUCCEEDED, State.STALLED))
    assert [row.name for row in rows] == ["done-late", "done-early", "stuck"]


def test_counts_add_up() -> None:
    total = tally_of([ACME.counts, ACME.counts])
    assert total[State.SUCCEEDED] == 4
    assert total[State.FAILED] == 0
