"""The JSON API and the event stream. docs/dashboard.md describes the objects."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from guildnet.digest import canonical_json
from guildnet_dashboard.api_objects import (
    artifact_json,
    org_json,
    problem_json,
    revision_json,
    row_json,
    status_commit_json,
    timeline_entry_json,
)
from guildnet_dashboard.follower import Follower
from guildnet_dashboard.reader import Reader, shown_revision
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
from guildnet_dashboard.task_list import TaskQuery, select_page
from guildnet_dashboard.viewer import Viewer, known_viewer, viewer_of

HEARTBEAT_SECONDS = 15.0
MAX_LISTENERS = 500


def api_routes(reader: Reader, sign_in_fault: Callable[[], str | None]) -> APIRouter:
    """Every route under /api. `sign_in_fault` says why nobody can sign in; None without sign-in."""
    router = APIRouter(prefix="/api")
    listeners = asyncio.Semaphore(MAX_LISTENERS)

    def answer(request: Request, at: str | None, make: Any) -> Response:
        view = reader.view(at, viewer_of(request))
        etag = "j-" + view.revision
        unchanged = not_modified(request, etag)
        if unchanged is not None:
            return unchanged
        body = {"revision": revision_json(view.snapshot), **make(view.snapshot)}
        return _json(body, {"ETag": f'W/"{etag}"'})

    @read_only(router, "/health")
    async def health(request: Request) -> Response:
        state = reader.follower.health
        status = "stale" if state.fault else "ok"
        body: dict[str, Any] = {"status": status if state.ready else "loading"}
        fault = sign_in_fault()
        if fault is not None:
            body["signIn"] = "unavailable" if fault else "ok"
        if (viewer := known_viewer(request)) is not None:
            snapshot = reader.model.current.limited_to(viewer.orgs)
            body |= {
                "revision": revision_json(snapshot),
                "repository": reader.repository,
                "fault": state.fault,
                "cure": state.cure,
                "orgs": len(snapshot.orgs),
                "tasks": sum(len(org.tasks) for org in snapshot.orgs.values()),
            }
            if fault:
                body["signInFault"] = fault
        return _json(body, {"Cache-Control": "no-store"}, status=200 if state.ready else 503)

    @read_only(router, "/orgs")
    def orgs(request: Request, at: At = None) -> Response:
        return answer(request, at, lambda s: {"orgs": [org_json(org) for org in s.orgs.values()]})

    @read_only(router, "/orgs/{org}/tasks")
    def tasks(
        request: Request,
        org: Name,
        query: Annotated[TaskQuery, Depends(list_query)],
        at: At = None,
    ) -> Response:
        def make(snapshot: Snapshot) -> dict[str, Any]:
            page = select_page(reader.org(snapshot, org), query)
            return {
                "org": org,
                "total": page.total,
                "page": page.number,
                "pages": page.last,
                "perPage": page.per_page,
                "tasks": [row_json(row) for row in page.rows],
            }

        return answer(request, at, make)

    @read_only(router, "/tasks/{org}/{task}")
    def task(request: Request, org: Name, task: Name, at: At = None) -> Response:
        def make(snapshot: Snapshot) -> dict[str, Any]:
            detail = reader.task(snapshot, org, task)
            return {
                **row_json(detail.row),
                "removed": detail.removed,
                "record": detail.record,
                "source": detail.source_text,
                "artifacts": [artifact_json(artifact) for artifact in detail.artifacts],
                "logTail": detail.log_tail,
            }

        return answer(request, at, make)

    @read_only(router, "/tasks/{org}/{task}/history")
    def history(request: Request, org: Name, task: Name, at: At = None) -> Response:
        def make(snapshot: Snapshot) -> dict[str, Any]:
            detail = reader.task(snapshot, org, task)
            moments = reader.timeline(snapshot, org, task)
            return {
                "org": org,
                "task": task,
                "runs": detail.record.get("history", []),
                "timeline": [timeline_entry_json(moment) for moment in moments],
            }

        return answer(request, at, make)

    @read_only(router, "/tasks/{org}/{task}/artifacts/{name}")
    def artifact(request: Request, org: Name, task: Name, name: str, at: At = None) -> Response:
        snapshot = reader.view(at, viewer_of(request)).snapshot
        data = reader.artifact(snapshot, org, task, name)
        kind = "application/json" if name.endswith(".json") else "text/plain; charset=utf-8"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type=kind, headers=headers)

    @read_only(router, "/activity")
    def activity(
        request: Request, org: OrgFilter = None, limit: Limit = 50, at: At = None
    ) -> Response:
        def make(snapshot: Snapshot) -> dict[str, Any]:
            return {
                "commits": [
                    status_commit_json(commit) for commit in reader.activity(snapshot, org, limit)
                ]
            }

        return answer(request, at, make)

    @read_only(router, "/problems")
    def problems(request: Request, at: At = None) -> Response:
        def make(snapshot: Snapshot) -> dict[str, Any]:
            found = [problem for org in snapshot.orgs.values() for problem in problems_of(org)]
            return {"problems": [problem_json(problem) for problem in found]}

        return answer(request, at, make)

    @read_only(router, "/events")
    async def events(request: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        kind = "text/event-stream"
        if request.method == "HEAD":
            return Response(headers=headers, media_type=kind)
        if listeners.locked():
            return _json({"error": {"message": "too many open event streams"}}, headers, status=503)
        stream = events_of(reader.follower, listeners, viewer_of(request))
        return StreamingResponse(stream, headers=headers, media_type=kind)

    return router


async def events_of(
    follower: Follower, listeners: asyncio.Semaphore, viewer: Viewer
) -> AsyncIterator[bytes]:
    """Send `hello` with the current revision, then a `change` for each update that the viewer
    sees, until the viewer's session ends.

    Comments in between keep the connection open.
    """
    async with listeners:
        feed, serial = follower.feed, follower.feed.serial
        yield _event("hello", {"revision": shown_revision(follower.revision, viewer)})
        while viewer.expires is None or time.time() < viewer.expires:
            try:
                events = await asyncio.wait_for(feed.after(serial), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            if events == []:
                return
            if events is None:
                serial = feed.serial
                revision = shown_revision(follower.revision, viewer)
                yield _event("change", {"revision": revision, "places": None})
                continue
            for event in events:
                serial = event.serial
                if (data := seen_change(event.data, viewer)) is not None:
                    yield _event(event.kind, data)


def seen_change(data: Mapping[str, Any], viewer: Viewer) -> Mapping[str, Any] | None:
    """The data of an event with only the places that the viewer sees; None where that is none."""
    places = data["places"]
    seen = None if places is None else [p for p in places if viewer.sees(p.partition("/")[0])]
    if places and not seen:
        return None
    return {**data, "places": seen, "revision": shown_revision(data["revision"], viewer)}


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _json(body: Mapping[str, Any], headers: dict[str, str], *, status: int = 200) -> Response:
    return Response(
        canonical_json(body), status_code=status, headers=headers, media_type="application/json"
    )
