"""What each page shows, with a real repository."""

from __future__ import annotations

import json

from tests.functional.dashboard.conftest import Serve
from tests.functional.dashboard.state_repository import (
    StateRepository,
    artifact,
    conditions,
    task_record,
)

from guildnet.record import OrgRecord, Removed

PULL_REQUEST = {
    "url": "https://git.example/acme/web/pulls/7",
    "repository": "acme/web",
    "number": 7,
    "state": "open",
    "title": "Repair the login",
}


async def test_overview_lists_orgs_with_counts_and_clusters(
    serve: Serve, repository: StateRepository
) -> None:
    """I10: an unreachable cluster is visible on the overview."""
    repository.orgs("acme", "globex", acme=("fix",))
    repository.report(
        OrgRecord("acme", cluster={"reachable": True}),
        OrgRecord("globex", cluster={"reachable": False, "message": "no answer"}),
        task_record("acme", "fix"),
    )
    async with serve() as dashboard:
        page = await dashboard.text("/")
        assert 'href="/orgs/acme"' in page
        assert "Unreachable" in page
        assert 'href="/tasks/acme/fix"' in page


async def test_a_file_without_a_valid_version_is_shown_as_invalid(
    serve: Serve, repository: StateRepository
) -> None:
    """I10: it is not listed as active, and every list shows the line of its error."""
    repository.orgs("acme", acme=("bad", "fix"))
    problem = {"path": "tasks/acme/bad.yaml", "line": 3, "message": "unknown field promt"}
    repository.report(OrgRecord("acme", cluster={"reachable": True}, quarantined=(problem,)))
    async with serve() as dashboard:
        overview = await dashboard.text("/")
        active = overview[overview.index('id="active"') :]
        assert "/tasks/acme/bad" not in active
        assert "/tasks/acme/fix" in active
        for path in ("/", "/orgs/acme", "/tasks/acme/bad"):
            page = await dashboard.text(path)
            assert "tasks/acme/bad.yaml:3: unknown field promt" in page, path
            assert "Invalid" in page, path
        listed = await dashboard.json("/api/orgs/acme/tasks?state=invalid")
        assert [task["task"] for task in listed["tasks"]] == ["bad"]


async def test_an_org_file_without_a_valid_version_is_shown_as_invalid(
    serve: Serve, repository: StateRepository
) -> None:
    repository.orgs("acme")
    problem = {"path": "orgs/acme.yaml", "line": 1, "message": "no kind"}
    repository.report(OrgRecord("acme", quarantined=(problem,)))
    async with serve() as dashboard:
        assert "Invalid org file" in await dashboard.text("/")


async def test_a_task_page_links_its_pull_request_once(
    serve: Serve, repository: StateRepository
) -> None:
    """Messages that contain its URL show the short name instead."""
    url = PULL_REQUEST["url"]
    repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    kinds = ("Published", "Succeeded", "Finished", "Ready")
    repository.report(
        task_record(
            "acme",
            "fix",
            conditions=conditions(*((kind, "Yes") for kind in kinds), message=f"opened {url}"),
            pull_request=PULL_REQUEST,
            result="TaskSucceeded",
            message=f"{url} is open; {url}0 is another",
        )
    )
    async with serve() as dashboard:
        page = await dashboard.text("/tasks/acme/fix")
    assert page.count(f'href="{url}"') == 1
    assert page.replace(f"{url}0", "").count(str(url)) == 1
    assert f"acme/web#7 is open; {url}0 is another" in page
    assert page.count("opened acme/web#7") == len(kinds)


async def test_task_page_is_complete(serve: Serve, repository: StateRepository) -> None:
    """I10: conditions with their messages, the result and its cause, and the log tail."""
    repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix", editor={"port": 8443}))
    failed = conditions(("Published", "PushRejected"), status="False", message="hook declined")
    repository.report(
        task_record(
            "acme",
            "fix",
            conditions=failed,
            pull_request=PULL_REQUEST,
            result="RetriesExhausted",
            message="exit code 3",
            editor={
                "port": 8443,
                "mesh": {"name": "fix-acme.mesh.example", "addresses": ["100.64.0.7"]},
            },
            artifacts=({"name": "coverage.json", "bytes": 12, "sha256": "ab" * 32},),
            usage={"requests": 4, "inputTokens": 4600, "outputTokens": 206, "costUsd": 0.01689},
            history=({"run": 0, "result": "Cancelled", "usage": {"requests": 1}},),
        ),
        files={
            **artifact("acme", "fix", "coverage.json", '{"lines": 91.5}'),
            **artifact("acme", "fix", "log_tail.txt", "assert 1 == 2"),
        },
    )
    async with serve() as dashboard:
        page = await dashboard.text("/tasks/acme/fix")
    for wanted in (
        "do fix",
        "RetriesExhausted",
        "exit code 3",
        "PushRejected",
        "hook declined",
        'href="https://git.example/acme/web/pulls/7"',
        "acme/web#7",
        "Repair the login",
        "assert 1 == 2",
        "coverage.json",
        "91.5",
        "ab" * 32,
        "guildnet editor acme/fix",
        "fix-acme.mesh.example",
        "(100.64.0.7)",
        "guildnet editor --mesh acme/fix",
        "Cancelled",
        "Run 1",
        "Accepted: Valid",
        "4 requests, 4,600 input tokens, 206 output tokens, 0.0169 USD",
        "1 request, 0 input tokens",
    ):
        assert wanted in page, wanted


async def test_problems_page_is_complete(serve: Serve, repository: StateRepository) -> None:
    """I10: quarantined files with lines, held deletions, unreachable clusters, missing orgs."""
    repository.orgs("acme", acme=("fix",), ghost=("lost",))
    repository.report(
        OrgRecord(
            "acme",
            cluster={"reachable": False, "message": "no answer within 5 s", "cure": "start it"},
            quarantined=({"path": "tasks/acme/bad.yaml", "line": 7, "message": "not YAML"},),
            held=({"task": "old", "reason": "DeletionBudget", "message": "7 of 9"},),
        ),
        task_record("acme", "fix", conditions=conditions(("Stalled", "ImagePullFailed"))),
    )
    async with serve() as dashboard:
        page = await dashboard.text("/problems")
        listed = (await dashboard.json("/api/problems"))["problems"]
    for wanted in (
        "no answer within 5 s",
        "start it",
        "tasks/acme/bad.yaml:7",
        "DeletionBudget",
        "tasks/ghost/",
        "orgs/ghost.yaml",
        "ImagePullFailed",
    ):
        assert wanted in page, wanted
    kinds = [problem["kind"] for problem in listed]
    assert kinds == ["cluster", "file", "held", "task", "org"]


async def test_a_removed_task_keeps_its_page(serve: Serve, repository: StateRepository) -> None:
    """I6: the record of a removed task is still shown."""
    repository.orgs("acme", acme=("fix",))
    repository.report(task_record("acme", "fix"))
    repository.commit("main", {"tasks/acme/fix.yaml": None})
    repository.report(Removed("acme", "fix", 3, "sha256:0", "TaskSucceeded"))
    async with serve() as dashboard:
        page = await dashboard.text("/tasks/acme/fix")
        assert "removed" in page
        assert "Removed from the source branch" in page
        assert "1 removed" in await dashboard.text("/orgs/acme")


async def test_activity_lists_commits_and_their_changes(
    serve: Serve, repository: StateRepository
) -> None:
    repository.orgs("acme", "globex", acme=("fix",), globex=("notes",))
    first = repository.report(task_record("acme", "fix"))
    second = repository.report(task_record("globex", "notes"))
    async with serve() as dashboard:
        page = await dashboard.text("/activity")
        assert page.index(second) < page.index(first)
        assert 'href="/tasks/acme/fix"' in page
        only = await dashboard.json("/api/activity?org=globex")
    assert [commit["commit"] for commit in only["commits"]] == [second]
    assert only["commits"][0]["changed"] == ["globex/notes"]
    assert only["commits"][0]["source"] == repository.tip("main")


async def test_an_empty_repository_is_explained(serve: Serve, repository: StateRepository) -> None:
    """I10: the pages explain what is missing and what to do."""
    repository.commit("main", {"README.md": "hello"})
    async with serve() as dashboard:
        assert "guildnet org add" in await dashboard.text("/")
        assert "No status yet" in await dashboard.text("/activity")
        await dashboard.shows(repository.orgs("acme", acme=("fix",)))
        assert "guildnet reconciler --repo" in await dashboard.text("/")
        page = await dashboard.text("/tasks/acme/fix")
        assert "Committed; the reconciler has not reported on it yet." in page
        assert "Attempt" not in page


async def test_unreadable_records_break_no_page(serve: Serve, repository: StateRepository) -> None:
    """I3: one unreadable record is reported, and everything else is shown."""
    repository.orgs("acme", "globex", acme=("fix", "odd"), globex=())
    odd = {"orgs/acme/tasks/odd/status.json": "{", "orgs/globex/org.json": "[]"}
    shapes = {"conditions": [{}], "history": {}, "artifacts": [1], "pullRequest": "x", "editor": 1}
    odd["orgs/acme/tasks/shapes/status.json"] = json.dumps(shapes)
    shapes["editor"] = {"mesh": {"name": 5, "addresses": 7}}
    odd["orgs/acme/tasks/mesh/status.json"] = json.dumps(shapes)
    repository.report(task_record("acme", "fix"), files=odd)
    async with serve() as dashboard:
        for path in (
            "/",
            "/orgs/acme",
            "/orgs/globex",
            "/tasks/acme/odd",
            "/tasks/acme/shapes",
            "/tasks/acme/mesh",
        ):
            await dashboard.text(path)
            await dashboard.json("/api/tasks/acme/shapes")
        assert "cannot be read: " in await dashboard.text("/problems")


async def test_machines_are_shown_on_the_org_and_among_the_problems(
    serve: Serve, repository: StateRepository
) -> None:
    machine = {
        "address": "10.0.0.3",
        "role": "worker",
        "state": "drifted",
        "version": "v1.13.0",
        "changedLines": 1,
        "diff": ["-    by: <b>***"],
    }
    section = {"reconcile": "report", "machines": [machine]}
    repository.orgs("acme")
    repository.report(OrgRecord("acme", cluster={"reachable": True}, talos=section))
    async with serve() as dashboard:
        page = await dashboard.text("/orgs/acme")
        assert "Talos machines" in page
        assert "-    by: &lt;b&gt;***" in page
        assert "drifted, 1 changed line" in page
        assert "machine 10.0.0.3" in await dashboard.text("/problems")
