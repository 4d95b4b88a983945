"""Lists of tasks: filter, sort and paginate. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from guildnet_dashboard.snapshot import NEWEST, OrgView, TaskRow
from guildnet_dashboard.states import State, order

MAX_PER_PAGE = 500
DEFAULT_PER_PAGE = 50
DEFAULT_SORT = "state"


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A request for tasks. `sort` is a key of SORTS; a leading "-" reverses the order."""

    states: tuple[State, ...] = ()
    text: str = ""
    sort: str = DEFAULT_SORT
    page: int = 1
    per_page: int = DEFAULT_PER_PAGE


@dataclass(frozen=True, slots=True)
class TaskPage:
    rows: tuple[TaskRow, ...]
    total: int
    number: int
    last: int
    per_page: int


def _run(row: TaskRow) -> int:
    return row.record.run if row.record else 0


SORTS: dict[str, Callable[[TaskRow], Any]] = {
    "name": lambda row: row.name,
    "state": lambda row: order(row.state),
    "updated": lambda row: row.updated,
    "run": _run,
}


def select_page(org: OrgView, query: TaskQuery) -> TaskPage:
    """Return one page of the org's tasks; a page number past the end gives the last page."""
    rows = [row for row in org.tasks.values() if _matches(row, query)]
    rows.sort(key=lambda row: row.name)
    if query.sort.lstrip("-") == "state":
        rows.sort(key=lambda row: row.updated, reverse=True)
    rows.sort(key=SORTS[query.sort.lstrip("-")], reverse=query.sort.startswith("-"))
    last = max(1, -(-len(rows) // query.per_page))
    number = min(query.page, last)
    start = (number - 1) * query.per_page
    shown = tuple(rows[start : start + query.per_page])
    return TaskPage(shown, len(rows), number, last, query.per_page)


def _matches(row: TaskRow, query: TaskQuery) -> bool:
    if query.states and row.state not in query.states:
        return False
    wanted = query.text.casefold()
    return wanted in row.name or wanted in row.reason.casefold()


def newest_rows(orgs: Iterable[OrgView], states: tuple[State, ...]) -> list[TaskRow]:
    """Return the most recently changed tasks in any of `states`, newest first, at most NEWEST.

    Each org caches its own, so only orgs that changed are sorted again.
    """
    rows = (row for org in orgs for state in states for row in org.newest.get(state, ()))
    return heapq.nlargest(NEWEST, rows, key=TaskRow.newness)
