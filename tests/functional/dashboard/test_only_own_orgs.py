"""A viewer of one org reads nothing of another, on any route, also as of earlier commits.

The routes come from the application itself: a new one fails here until it is covered.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.functional.dashboard.conftest import DEADLINE, Dashboard, Serve
from tests.functional.dashboard.oidc_provider import OidcProvider
from tests.functional.dashboard.signing_in import PAGE, PUBLIC, sign_in
from tests.functional.dashboard.state_repository import (
    StateRepository,
    artifact,
    conditions,
    task_record,
)
from tests.functional.dashboard.test_read_only import routes

from guildnet.record import OrgRecord, Removed
from guildnet_dashboard.settings import SignInSettings

OWN = {"org": "acme", "task": "fix", "name": "report.json"}
FOREIGN = {"org": "globex", "task": "plan", "name": "report.json"}
MISSING = {"org": "glodex", "task": "plan", "name": "report.json"}
NAMES = ("globex", "plan", "initech", "merger")
QUERIES = ("", "?org=acme", "?limit=200", "?q=fi", "?state=failed&sort=name")
#: Routes that are read in tests of their own: a stream, and the flow of sign-in.
SEPARATE = {"/api/events", "/signin", "/signin/callback", "/signout", "/signed-out"}


@pytest.fixture
def recorded(repository: StateRepository) -> StateRepository:
    """acme, which is seen; globex and initech, which are not, with records of every kind.

    The status commits have the subjects that the reconciler gives them, which name orgs and tasks.
    """
    repository.orgs(
        "acme", "globex", acme=("fix", "old"), globex=("plan", "old"), initech=("merger",)
    )
    stalled = conditions(("Stalled", "Merger"), message="the merger of globex")
    faults = ({"reason": "Fault", "message": "the plan of globex failed", "task": "plan"},)
    for org, task in (("acme", "fix"), ("globex", "plan"), ("initech", "merger")):
        fields = {"result": "TaskFailed"} if org == "acme" else {"conditions": stalled}
        repository.report(
            task_record(org, task, **fields),
            OrgRecord(
                org,
                cluster={"reachable": False, "message": f"{org} does not answer"},
                quarantined=({"path": f"tasks/{org}/{task}.yaml", "line": 1, "message": "bad"},),
                faults=faults if org == "globex" else (),
            ),
            files=artifact(org, task, "report.json", json.dumps({"of": f"{org}/{task}"})),
        )
        record = {f"orgs/{org}/tasks/{task}/artifacts/log_tail.txt": f"log of {org}/{task}"}
        repository.commit("status", record, f"status({org}): {task} Running")
        repository.commit(
            "status", {f"orgs/{org}/usage/2026-11.json": "{}"}, f"status({org}): usage of {task}"
        )
    repository.report(*(Removed(org, "old", 1, "d", "Cancelled") for org in ("globex", "acme")))
    both = {
        f"orgs/{org}/tasks/{task}/artifacts/log_tail.txt": "more"
        for org, task in (("acme", "fix"), ("globex", "plan"))
    }
    repository.commit("status", both, "status(globex): plan Running and more")
    return repository


@pytest.fixture
async def signed_in(
    serve: Serve, recorded: StateRepository, provider: OidcProvider, signing_in: SignInSettings
) -> AsyncIterator[Dashboard]:
    """A dashboard that a person of acme has signed in to."""
    provider.person["groups"] = ["acme"]
    async with serve(sign_in=signing_in, base=PUBLIC) as dashboard:
        assert (await sign_in(dashboard)).status_code == 303
        yield dashboard


def commits(repository: StateRepository) -> list[str]:
    listed = repository._git("rev-list", "--first-parent", "status", "main")
    return listed.decode().split()


def paths(dashboard: Dashboard) -> Iterator[str]:
    found = {path for path, _ in routes(dashboard.app)} - SEPARATE
    assert {"/", "/problems", "/api/orgs", "/api/tasks/{org}/{task}/history"} <= found
    yield from sorted(found)


async def test_no_route_names_another_org(signed_in: Dashboard, recorded: StateRepository) -> None:
    for path in paths(signed_in):
        for query in QUERIES:
            answer = await signed_in.get(path.format(**OWN) + query)
            assert answer.status_code in (200, 400), (path, query)
            if query == "":
                assert answer.status_code == 200, path
                assert "acme" in answer.text or path == "/api/health", path
            shown = answer.text.replace("?q=fi", "").replace('value="plan"', "")
            for name in NAMES:
                assert name not in shown, (path, query, name)


async def test_no_earlier_commit_names_another_org(
    signed_in: Dashboard, recorded: StateRepository
) -> None:
    listed = commits(recorded)
    assert len(listed) > 10
    for path in paths(signed_in):
        for commit in listed:
            answer = await signed_in.get(f"{path.format(**OWN)}?at={commit}")
            assert answer.status_code in (200, 404), (path, commit)
            for name in NAMES:
                assert name not in answer.text, (path, commit, name)


async def test_an_org_of_others_is_answered_like_a_missing_one(
    signed_in: Dashboard, recorded: StateRepository
) -> None:
    tip = recorded.tip("status")
    asked = [path for path in paths(signed_in) if "{org}" in path]
    asked += ["/activity?org={org}", "/api/activity?org={org}"]
    assert len(asked) >= 8
    for path in asked:
        for suffix in ("", f"{'&' if '?' in path else '?'}at={tip}"):
            foreign = await signed_in.get(path.format(**FOREIGN) + suffix)
            missing = await signed_in.get(path.format(**MISSING) + suffix)
            assert foreign.status_code == missing.status_code == 404, path
            assert foreign.text.replace("globex", "glodex") == missing.text, path
            assert foreign.headers == missing.headers, path


async def test_counts_are_those_of_own_orgs(signed_in: Dashboard) -> None:
    health = await signed_in.json("/api/health")
    assert (health["orgs"], health["tasks"]) == (1, 2)
    (org,) = (await signed_in.json("/api/orgs"))["orgs"]
    assert org["counts"] == {"failed": 1, "pending": 1}
    page = await signed_in.text("/")
    assert "<dt>Orgs</dt><dd>1</dd>" in page
    problems = (await signed_in.json("/api/problems"))["problems"]
    assert {problem["org"] for problem in problems} == {"acme"}
    assert f'<span class="count">{len(problems)}</span>' in page


async def test_activity_lists_only_commits_of_own_orgs(signed_in: Dashboard) -> None:
    listed = (await signed_in.json("/api/activity"))["commits"]
    assert listed[0]["changed"] == ["acme/fix"]
    assert listed[0]["subject"] == "status: acme/fix"
    assert all(commit["subject"].startswith("status: ") for commit in listed)
    assert {place.partition("/")[0] for c in listed for place in c["changed"]} <= {"acme"}


async def test_pages_are_not_cached_for_others(
    serve: Serve, recorded: StateRepository, provider: OidcProvider, signing_in: SignInSettings
) -> None:
    """Neither the server's cache nor a browser's shows one person another's page."""
    async with serve(sign_in=signing_in, base=PUBLIC) as dashboard:
        seen: list[tuple[str, str]] = []
        for name, groups in (("ada", ["globex"]), ("bob", ["acme"]), ("eve", ["acme"])):
            provider.person |= {"preferred_username": name, "groups": groups}
            dashboard.client.cookies.clear()
            await sign_in(dashboard)
            for path in ("/", "/api/orgs"):
                for _, etag in seen:
                    old = await dashboard.get(path, headers={"If-None-Match": etag})
                    assert old.status_code == 200
                answer = await dashboard.get(path)
                assert ("globex" in answer.text) == (name == "ada")
                seen.append((name, answer.headers["etag"]))
        assert len({etag for _, etag in seen}) == len(seen)


async def test_the_token_shows_every_org(
    serve: Serve, recorded: StateRepository, signing_in: SignInSettings, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery")
    async with serve(sign_in=signing_in, base=PUBLIC, token_file=token) as dashboard:
        headers = {"Authorization": "Bearer correct-horse-battery"}
        answer = await dashboard.get("/api/orgs", headers=headers)
        assert {org["name"] for org in answer.json()["orgs"]} == {"acme", "globex", "initech"}
        wrong = {"Authorization": "Bearer wrong-horse-battery-"}
        assert (await dashboard.get("/api/orgs", headers=wrong)).status_code == 401


@asynccontextmanager
async def events(
    dashboard: Dashboard, headers: dict[str, str]
) -> AsyncIterator[asyncio.Queue[bytes | None]]:
    """The chunks of /api/events, through every layer of the application; None at its end."""
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/events",
        "raw_path": b"/api/events",
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "scheme": "https",
        "server": ("dash.example", 443),
        "http_version": "1.1",
    }

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await chunks.put(message["body"])

    async def read() -> None:
        await dashboard.app(scope, receive, send)
        await chunks.put(None)

    reading = asyncio.create_task(read())
    try:
        yield chunks
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def cookie_header(client: httpx.AsyncClient) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{k}={v}" for k, v in client.cookies.items())}


async def test_events_name_only_own_orgs(signed_in: Dashboard, recorded: StateRepository) -> None:
    async with events(signed_in, cookie_header(signed_in.client)) as chunks:
        async with asyncio.timeout(DEADLINE):
            hello = await chunks.get()
            assert hello is not None
            revision = json.loads(hello.partition(b"data: ")[2])["revision"]
            assert f'data-revision="{revision}"' in await signed_in.text("/")
            await signed_in.shows(recorded.report(task_record("globex", "plan", run=2)))
            both = (task_record("globex", "plan", run=3), task_record("acme", "fix", run=2))
            await signed_in.shows(recorded.report(*both))
            change = await chunks.get()
    assert change is not None
    assert json.loads(change.partition(b"data: ")[2])["places"] == ["acme/fix"]
    assert chunks.empty() or b"globex" not in (chunks.get_nowait() or b"")


async def test_events_end_with_the_session(
    serve: Serve,
    recorded: StateRepository,
    provider: OidcProvider,
    signing_in: SignInSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guildnet_dashboard.api.HEARTBEAT_SECONDS", 0.1)
    async with serve(sign_in=signing_in, base=PUBLIC) as dashboard:
        token = provider.token(exp=time.time() + 1, groups=["acme"])
        async with events(dashboard, {"Authorization": f"Bearer {token}"}) as chunks:
            async with asyncio.timeout(DEADLINE):
                while await chunks.get():
                    pass
        assert (await dashboard.get("/", headers=PAGE)).status_code == 302
