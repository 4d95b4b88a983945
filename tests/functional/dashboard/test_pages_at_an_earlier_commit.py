"""Every page can be shown at an earlier commit."""

from __future__ import annotations

from tests.functional.dashboard.conftest import Serve
from tests.functional.dashboard.state_repository import StateRepository, task_record


async def test_pages_at_a_status_commit(serve: Serve, repository: StateRepository) -> None:
    repository.orgs("acme", acme=("fix",))
    before = repository.report(task_record("acme", "fix"))
    repository.orgs("acme", acme=("later",))
    repository.report(task_record("acme", "fix", result="TaskSucceeded"))
    async with serve() as dashboard:
        now = await dashboard.json("/api/tasks/acme/fix")
        then = await dashboard.json(f"/api/tasks/acme/fix?at={before}")
        assert (now["state"], then["state"]) == ("succeeded", "running")
        tasks = await dashboard.json(f"/api/orgs/acme/tasks?at={before}")
        assert [task["task"] for task in tasks["tasks"]] == ["fix"]
        page = await dashboard.text(f"/?at={before}")
        assert before in page
        assert 'data-live=""' in page
        assert f'href="/orgs/acme?at={before}"' in page
        history = await dashboard.json(f"/api/tasks/acme/fix/history?at={before}")
        assert [entry["commit"] for entry in history["timeline"]] == [before]


async def test_pages_at_a_source_commit(serve: Serve, repository: StateRepository) -> None:
    source = repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    newest = repository.report(task_record("acme", "fix", attempt=2))
    repository.orgs("acme", acme=("later",))
    repository.report(task_record("acme", "later"))
    async with serve() as dashboard:
        found = await dashboard.json(f"/api/orgs?at={source}")
        assert found["revision"] == {"status": newest, "source": source}


async def test_unknown_commits_are_refused(serve: Serve, repository: StateRepository) -> None:
    """I9, I10: no revision syntax reaches git; the error says what is valid."""
    source = repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    stray = repository.commit("elsewhere", {"x": "y"})
    async with serve() as dashboard:
        for at in ("main", "HEAD", "--all", "a" * 40, stray, "../x", source[:12]):
            answer = await dashboard.get(f"/api/orgs?at={at}")
            assert answer.status_code == 404, at
            assert "activity page" in answer.json()["error"]["cure"]
            assert (await dashboard.get(f"/?at={at}")).status_code == 404
        assert (await dashboard.get(f"/?at={'a' * 65}")).status_code == 400
