"""New commits are fetched and published, at a cost that follows the size of the change."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.functional.dashboard.conftest import DEADLINE, Dashboard, Serve
from tests.functional.dashboard.state_repository import StateRepository, task_record

from guildnet.record import OrgRecord
from guildnet_dashboard.api import events_of
from guildnet_dashboard.viewer import Viewer


async def next_event(stream: AsyncIterator[bytes]) -> tuple[str, Any]:
    async with asyncio.timeout(DEADLINE):
        async for chunk in stream:
            lines = dict(line.partition(": ")[::2] for line in chunk.decode().splitlines() if line)
            if "event" in lines:
                return lines["event"], json.loads(lines["data"])
    raise AssertionError("the event stream ended")


def stream_of(dashboard: Dashboard) -> AsyncIterator[bytes]:
    return events_of(dashboard.follower, asyncio.Semaphore(2), Viewer())


async def test_event_of_a_new_commit_names_what_changed(
    serve: Serve, repository: StateRepository
) -> None:
    """I5: the event names the changed task, so that only its pages are loaded again."""
    repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    async with serve(poll=timedelta(seconds=60)) as dashboard:
        stream = stream_of(dashboard)
        kind, hello = await next_event(stream)
        assert kind == "hello"
        assert hello["revision"] in await dashboard.text("/")
        # The poll interval exceeds the deadline, so only the watch on the refs can deliver it.
        tip = repository.report(task_record("acme", "fix", result="TaskSucceeded"))
        kind, change = await next_event(stream)
        assert (kind, change["status"], change["places"]) == ("change", tip, ["acme/fix"])
        assert (await dashboard.json("/api/tasks/acme/fix"))["state"] == "succeeded"


async def test_the_event_route_streams_over_http(serve: Serve, repository: StateRepository) -> None:
    repository.orgs("acme")
    async with serve() as dashboard:
        answer = await dashboard.get("/api/events", method="HEAD")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"


async def test_slow_listeners_refresh_everything(serve: Serve, repository: StateRepository) -> None:
    """I3: a slow listener uses no memory; it is sent an event that refreshes every page."""
    repository.orgs("acme")
    async with serve(poll=timedelta(seconds=60)) as dashboard:
        stream = stream_of(dashboard)
        await next_event(stream)
        for number in range(100):
            await dashboard.follower.feed.publish("change", {"number": number})
        kind, change = await next_event(stream)
        assert (kind, change["places"]) == ("change", None)


async def test_unchanged_pages_are_not_sent_again(
    serve: Serve, repository: StateRepository
) -> None:
    """I4: a repeated request gets 304 until a new commit arrives."""
    repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    async with serve() as dashboard:
        for path in ("/", "/tasks/acme/fix", "/api/orgs", "/api/tasks/acme/fix"):
            first = await dashboard.get(path)
            again = await dashboard.get(path, headers={"If-None-Match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b""), path
        tag = (await dashboard.get("/")).headers["etag"]
        tip = repository.report(task_record("acme", "fix", attempt=2))
        await dashboard.shows(tip)
        assert (await dashboard.get("/", headers={"If-None-Match": tag})).status_code == 200


async def test_one_change_reads_one_record(serve: Serve, repository: StateRepository) -> None:
    """I5: an update reads only the changed blobs."""
    names = tuple(f"t-{number}" for number in range(300))
    repository.orgs("acme", acme=names)
    repository.report(*(task_record("acme", name) for name in names))
    async with serve() as dashboard:
        before = dashboard.follower.model.current.orgs["acme"].tasks
        tip = repository.report(task_record("acme", "t-7", attempt=2))
        await dashboard.shows(tip)
        after = dashboard.follower.model.current.orgs["acme"].tasks
        assert [name for name in names if after[name] is not before[name]] == ["t-7"]


async def test_unreachable_repository_is_reported(
    serve: Serve, repository: StateRepository
) -> None:
    """I1, I10: pages keep their content and show the cause until the repository is back."""
    repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    away = repository.path.with_name("away.git")
    async with serve() as dashboard:
        shutil.move(repository.path, away)
        await dashboard.until(lambda: bool(dashboard.follower.health.fault))
        page = await dashboard.text("/")
        assert "Not up to date" in page
        assert str(repository.path) in page
        assert 'href="/tasks/acme/fix"' in page
        assert (await dashboard.json("/api/health"))["status"] == "stale"
        shutil.move(away, repository.path)
        await dashboard.until(lambda: not dashboard.follower.health.fault)
        assert "Not up to date" not in await dashboard.text("/")


async def test_deleted_status_branch_is_reported(serve: Serve, repository: StateRepository) -> None:
    """I1, I6: pages keep showing the last commit of a deleted branch."""
    repository.orgs("acme", acme=("fix",))
    tip = repository.report(task_record("acme", "fix"))
    async with serve() as dashboard:
        repository.delete("status")
        await dashboard.until(lambda: "was deleted" in dashboard.follower.health.fault)
        assert dashboard.follower.model.current.status == tip
        assert 'href="/tasks/acme/fix"' in await dashboard.text("/")


async def test_failed_first_read_is_explained(serve: Serve, repository: StateRepository) -> None:
    """I10: the page explains why nothing could be read."""
    shutil.rmtree(repository.path / "objects")
    async with serve() as dashboard:
        answer = await dashboard.get("/")
        assert answer.status_code == 503
        assert str(repository.path) in answer.text
        assert (await dashboard.get("/api/health")).status_code == 503


async def test_a_restart_shows_the_last_state_at_once(
    serve: Serve, repository: StateRepository
) -> None:
    """The mirror is kept, so a restart while the remote is unreachable shows its last state."""
    repository.orgs("acme", acme=("fix",))
    repository.report(OrgRecord("acme", cluster={"reachable": True}), task_record("acme", "fix"))
    async with serve() as dashboard:
        await dashboard.text("/")
    shutil.rmtree(repository.path / "objects")
    async with serve() as dashboard:
        assert 'href="/tasks/acme/fix"' in await dashboard.text("/")
        await dashboard.until(lambda: bool(dashboard.follower.health.fault))


async def test_hanging_remote_is_reported_within_ten_seconds(serve: Serve) -> None:
    """I10: pages report the hanging remote, and shutdown does not wait for it."""
    released = asyncio.Event()

    async def silence(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = time.monotonic()
    async with serve(repository=f"http://127.0.0.1:{port}/state.git") as dashboard:
        took = time.monotonic() - began
        answer = await dashboard.get("/")
        assert "no answer for" in answer.text
        stopping = time.monotonic()
    assert took < 10
    assert time.monotonic() - stopping < 2
    released.set()
    server.close()


async def test_mirror_is_indexed_in_the_background(
    serve: Serve, repository: StateRepository, tmp_path: Path
) -> None:
    """I5: the timeline of one task stays cheap as the history grows."""
    repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    graphs = tmp_path / "state" / "dashboard" / "mirror" / "objects" / "info" / "commit-graphs"
    async with serve(), asyncio.timeout(DEADLINE):
        while not list(graphs.glob("*.graph")):  # noqa: ASYNC110 (written by git, without an event)
            await asyncio.sleep(0.02)
