"""Shared by API and pages: query parameters, ETag handling, registration of read-only routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from guildnet.names import NAME_PATTERN
from guildnet_dashboard.states import State
from guildnet_dashboard.task_list import DEFAULT_PER_PAGE, DEFAULT_SORT, MAX_PER_PAGE, TaskQuery

At = Annotated[
    str | None,
    Query(max_length=64, description="A full commit id of the status or source branch."),
]
Name = Annotated[str, Path(pattern=f"^{NAME_PATTERN}$")]
OrgFilter = Annotated[str | None, Query(max_length=50)]
Limit = Annotated[int, Query(ge=1, le=200)]
States = Annotated[list[State] | None, Query()]
Search = Annotated[str, Query(max_length=100)]
Sort = Annotated[str, Query(pattern=r"^-?(name|state|updated|run)$")]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
PerPage = Annotated[int, Query(ge=1, le=MAX_PER_PAGE)]


def list_query(
    state: States = None,
    q: Search = "",
    sort: Sort = DEFAULT_SORT,
    page: PageNumber = 1,
    per_page: PerPage = DEFAULT_PER_PAGE,
) -> TaskQuery:
    return TaskQuery(tuple(state or ()), q.strip(), sort, page, per_page)


def read_only(router: APIRouter, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a route for GET and HEAD; no other method is served."""

    def register(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        router.add_api_route(path, endpoint, methods=["GET", "HEAD"], response_model=None)
        return endpoint

    return register


def not_modified(request: Request, etag: str) -> Response | None:
    """Return a 304 response if the client already has `etag` (without quotes), else None."""
    known = request.headers.get("if-none-match", "")
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    if f'"{etag}"' in tags:
        return Response(status_code=304, headers={"ETag": f'W/"{etag}"'})
    return None
