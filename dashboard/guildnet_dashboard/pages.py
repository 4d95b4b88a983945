"""The HTML pages, built from the same reader as the API.

A page depends only on its commits, its URL and what its viewer sees: times in it are absolute, and
the script makes them relative. So pages are cached by ETag, both here and in the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from guildnet_dashboard.cache import Cache
from guildnet_dashboard.json_values import condition_list, mappings
from guildnet_dashboard.reader import Reader, View
from guildnet_dashboard.rendering import BUILD, Renderer
from guildnet_dashboard.routing import (
    At,
    Limit,
    Name,
    OrgFilter,
    list_query,
    not_modified,
    read_only,
)
from guildnet_dashboard.snapshot import Snapshot, problems_of
from guildnet_dashboard.stages import stages
from guildnet_dashboard.states import ACTIVE, State, total_counts
from guildnet_dashboard.task_list import TaskQuery, newest_rows, select_page
from guildnet_dashboard.viewer import viewer_of

_CACHED_PAGES = 128
_FINISHED = (State.FAILED, State.BUDGET_EXCEEDED, State.CANCELLED, State.SUCCEEDED)

Values = Mapping[str, Any]


def page_routes(reader: Reader, renderer: Renderer) -> APIRouter:
    """Every route that answers with HTML."""
    router = APIRouter(include_in_schema=False)
    cache: Cache[bytes] = Cache(_CACHED_PAGES)

    def answer(
        request: Request, at: str | None, template: str, make: Callable[[Snapshot], Values]
    ) -> Response:
        view = reader.view(at, viewer_of(request))
        etag = f"p-{BUILD}-{view.revision}"
        unchanged = not_modified(request, etag)
        if unchanged is not None:
            return unchanged

        def render() -> bytes:
            return renderer.page(template, {**_frame(reader, view), **make(view.snapshot)})

        key = (etag, request.url.path, request.url.query)
        return html(cache.get(key, render), headers={"ETag": f'W/"{etag}"'})

    @read_only(router, "/")
    def overview(request: Request, at: At = None) -> Response:
        return answer(request, at, "overview.html", _overview)

    @read_only(router, "/orgs/{org}")
    def org_page(
        request: Request, org: Name, query: Annotated[TaskQuery, Depends(list_query)], at: At = None
    ) -> Response:
        def make(snapshot: Snapshot) -> Values:
            view = reader.org(snapshot, org)
            return {
                "org": view,
                "query": query,
                "page": select_page(view, query),
                "states": [state for state in State if view.counts.get(state)],
                "problems": problems_of(view),
                "live": org,
            }

        return answer(request, at, "org.html", make)

    @read_only(router, "/tasks/{org}/{task}")
    def task_page(request: Request, org: Name, task: Name, at: At = None) -> Response:
        def make(snapshot: Snapshot) -> Values:
            detail = reader.task(snapshot, org, task)
            return {
                "detail": detail,
                "row": detail.row,
                "record": detail.record,
                "stages": stages(detail.record),
                "conditions": condition_list(detail.record),
                "runs": mappings(detail.record.get("history")),
                "timeline": reader.timeline(snapshot, org, task),
                "live": f"{org}/{task}",
            }

        return answer(request, at, "task.html", make)

    @read_only(router, "/activity")
    def activity(
        request: Request, org: OrgFilter = None, limit: Limit = 50, at: At = None
    ) -> Response:
        def make(snapshot: Snapshot) -> Values:
            return {
                "commits": reader.activity(snapshot, org, limit),
                "only": org,
                "limit": limit,
                "live": org or "*",
            }

        return answer(request, at, "activity.html", make)

    @read_only(router, "/problems")
    def problems(request: Request, at: At = None) -> Response:
        def make(snapshot: Snapshot) -> Values:
            found = [problem for org in snapshot.orgs.values() for problem in problems_of(org)]
            return {"problems": found, "live": "*"}

        return answer(request, at, "problems.html", make)

    return router


def html(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="text/html")


def _frame(reader: Reader, view: View) -> dict[str, Any]:
    """The values of the page frame."""
    snapshot = view.snapshot
    return {
        "snapshot": snapshot,
        "at": view.at,
        "health": view.health,
        "revision": view.revision,
        "shown_commit": reader.commit(snapshot),
        "repository": reader.repository,
        "viewer": view.viewer,
        "problem_count": sum(len(problems_of(org)) for org in snapshot.orgs.values()),
    }


def _overview(snapshot: Snapshot) -> Values:
    orgs = list(snapshot.orgs.values())
    return {
        "orgs": orgs,
        "counts": total_counts(org.counts for org in orgs),
        "active": newest_rows(orgs, ACTIVE),
        "invalid": newest_rows(orgs, (State.INVALID,)),
        "finished": newest_rows(orgs, _FINISHED),
        "problems": {org.name: problems_of(org) for org in orgs},
        "live": "*",
    }
