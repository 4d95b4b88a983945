"""Only GET and HEAD are served, and content written by agents is inert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.functional.dashboard.conftest import Serve
from tests.functional.dashboard.state_repository import (
    StateRepository,
    artifact,
    conditions,
    task_record,
)

from guildnet.record import OrgRecord

EVIL = '"><script src=//evil.example></script><img src=x onerror=alert(1)>{{7*7}}&'
PATHS = (
    "/",
    "/orgs/acme",
    "/orgs/acme?q=%22%3E%3Cscript%3E",
    "/tasks/acme/fix",
    "/activity",
    "/problems",
)


def routes(router: Any) -> Iterator[tuple[str, set[str]]]:
    """(path, methods) of every route, including included routers."""
    for route in router.routes:
        if hasattr(route, "original_router"):
            yield from routes(route.original_router)
        elif hasattr(route, "methods"):
            yield route.path, set(route.methods)


async def test_every_route_is_get_or_head(serve: Serve, repository: StateRepository) -> None:
    repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    async with serve() as dashboard:
        found = dict[str, set[str]]()
        for path, methods in routes(dashboard.app):
            found[path] = found.get(path, set()) | methods
        assert "/api/events" in found
        for path, methods in found.items():
            assert methods == {"GET", "HEAD"}, path
            real = (
                path.replace("{org}", "acme").replace("{task}", "fix").replace("{name}", "x.json")
            )
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                answer = await dashboard.get(real, method=method)
                assert answer.status_code == 405, (method, real)
        static = await dashboard.get("/static/live.js", method="POST")
        assert static.status_code == 405


async def test_head_is_supported(serve: Serve, repository: StateRepository) -> None:
    repository.orgs("acme", acme=("fix",))
    async with serve() as dashboard:
        for path in ("/", "/api/orgs", "/api/events", "/static/style.css"):
            assert (await dashboard.get(path, method="HEAD")).status_code == 200, path


async def test_everything_agents_and_people_write_is_escaped(
    serve: Serve, repository: StateRepository
) -> None:
    """I9: text is escaped on every page, whoever wrote it."""
    repository.orgs("acme", acme=("fix",))
    repository.commit("main", {"tasks/acme/fix.yaml": f"spec:\n  prompt: '{EVIL}'\n"})
    pull = {"url": f"https://git.example/{EVIL}", "repository": EVIL, "number": 1, "title": EVIL}
    pull |= {"state": EVIL, "branch": EVIL, "base": EVIL, "createdAt": EVIL}
    record = task_record(
        "acme",
        "fix",
        result=EVIL,
        message=EVIL,
        phase=EVIL,
        pod=EVIL,
        node=EVIL,
        branch=EVIL,
        commit=EVIL,
        created_at=EVIL,
        source_revision=EVIL,
        conditions=({"type": EVIL, "status": EVIL, "reason": EVIL, "message": EVIL},),
        pull_request=pull,
        editor={"x": EVIL, "mesh": {"name": EVIL, "addresses": [EVIL]}},
        artifacts=({"name": EVIL, "bytes": 1, "sha256": EVIL},),
        history=({"run": EVIL, "result": EVIL, "pullRequest": EVIL, "finishedAt": EVIL},),
    )
    org = OrgRecord(
        "acme",
        attempted=EVIL,
        applied="x",
        cluster={"reachable": False, "message": EVIL, "cure": EVIL},
        location={"kubeconfig": EVIL, "namespace": EVIL},
        quarantined=({"path": EVIL, "line": 1, "message": EVIL},),
        faults=({"reason": EVIL, "message": EVIL, "task": EVIL},),
    )
    repository.report(record, org, files=artifact("acme", "fix", "log_tail.txt", EVIL))
    stalled = conditions(("Stalled", EVIL), message=EVIL)
    repository.report(task_record("acme", "stuck", conditions=stalled))
    repository.commit("status", {"orgs/acme/tasks/fix/artifacts/x.json": EVIL}, EVIL)
    async with serve() as dashboard:
        for path in PATHS:
            page = await dashboard.text(path)
            assert "<script src=//evil" not in page, path
            assert "<img" not in page, path
            assert "<script>" not in page, path
            assert ">49" not in page, path
            assert "evil.example" in page or path.endswith("Cscript%3E"), path


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://bot:pw@git.example/1", "data:x"])
async def test_unsafe_pull_request_urls_are_not_linked(
    serve: Serve, repository: StateRepository, url: str
) -> None:
    """I8: a URL with a script or a credential is not linked."""
    repository.orgs("acme", acme=("fix",))
    pull = {"url": url, "repository": "a/b", "number": 1}
    files = artifact("acme", "fix", "last_pr.json", json.dumps(pull))
    repository.report(task_record("acme", "fix", pull_request=pull), files=files)
    async with serve() as dashboard:
        page = await dashboard.text("/tasks/acme/fix")
        assert "a/b#1" in page
        assert f'href="{url}"' not in page
        assert "bot:pw" not in page


async def test_every_response_has_the_security_headers(
    serve: Serve, repository: StateRepository
) -> None:
    repository.orgs("acme")
    async with serve() as dashboard:
        for path in ("/", "/api/orgs", "/static/live.js", "/nope", "/api/tasks/acme/none"):
            headers = (await dashboard.get(path)).headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
        page = await dashboard.text("/")
        assert "<style" not in page
        assert " style=" not in page
        assert "onclick" not in page


async def test_artifacts_are_served_as_downloads(serve: Serve, repository: StateRepository) -> None:
    """I9: artifacts are downloads of a harmless type, and no name escapes their folder."""
    repository.orgs("acme", acme=("fix",))
    files = artifact("acme", "fix", "report.json", "<script>alert(1)</script>")
    repository.report(task_record("acme", "fix"), files=files)
    async with serve() as dashboard:
        answer = await dashboard.get("/api/tasks/acme/fix/artifacts/report.json")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-disposition"].startswith("attachment")
        for name in ("..%2F..%2Forg.json", "status.json", "x.html", ".json"):
            path = f"/api/tasks/acme/fix/artifacts/{name}"
            assert (await dashboard.get(path)).status_code == 404, name
