"""Records that GuildNet would never write break no page, stop no update and leak nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.functional.dashboard.conftest import Serve
from tests.functional.dashboard.state_repository import (
    StateRepository,
    artifact,
    conditions,
    task_record,
)

from guildnet.digest import readable_json
from guildnet.git import Mirror
from guildnet.record import OrgRecord
from guildnet_dashboard.follower import Follower
from guildnet_dashboard.read_model import ReadModel, Update

FIX = "orgs/acme/tasks/fix/status.json"
PAGES = ("/", "/orgs/acme", "/tasks/acme/fix", "/problems", "/activity")
ANSWERS = ("/api/orgs", "/api/orgs/acme/tasks", "/api/tasks/acme/fix", "/api/problems")
URL = "https://bot:hunter2@git.example/web.git"


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"a": ' * 50_000 + b"1" + b"}" * 50_000,
        b'{"run": NaN}',
        b'{"run": 1e999}',
        b'{"run": ' + b"9" * 5000 + b"}",
        b'{"result": "\\ud800", "message": "\\udfff", "run": 1}',
        b'{"result": "Odd", "conditions": {"a": []}, "history": [[]], "pullRequest": []}',
        b"\xff\xfe{",
        b"\0",
    ],
)
async def test_malformed_content_breaks_no_page_and_no_update(
    serve: Serve, repository: StateRepository, content: bytes
) -> None:
    """I3, I9: other pages still work, and so does the next commit."""
    repository.orgs("acme", acme=("fix", "other"))
    repository.report(task_record("acme", "other"), files={FIX: content})
    async with serve() as dashboard:
        for path in PAGES:
            await dashboard.text(path)
        for path in ANSWERS:
            await dashboard.json(path)
        await dashboard.shows(repository.report(task_record("acme", "fix", attempt=2)))
        assert (await dashboard.json("/api/tasks/acme/fix"))["attempt"] == 2


async def test_no_credential_of_a_record_is_shown(
    serve: Serve, repository: StateRepository
) -> None:
    """I8: neither in pages, nor in the API's record, artifacts or log tail."""
    repository.orgs("acme", acme=("fix",))
    repository.commit("main", {"tasks/acme/fix.yaml": f"spec:\n  prompt: see {URL}\n"})
    org = OrgRecord(
        "acme",
        cluster={"reachable": False, "message": f"\x1b[31m{URL}"},
        faults=({"reason": "Odd", "message": URL, "place": URL},),
    )
    record = task_record(
        "acme",
        "fix",
        message=URL,
        result="TaskFailed",
        branch=URL,
        pull_request={"url": URL, "title": URL, "state": URL},
        conditions=conditions(("Stalled", "Odd"), message=f"cannot reach {URL}"),
        history=({"run": 1, "result": URL, "pullRequest": URL},),
    )
    files = {
        **artifact("acme", "fix", "x.json", f'{{"remote": "{URL}"}}'),
        **artifact("acme", "fix", "log_tail.txt", f"\x1b[0m{URL}"),
    }
    repository.report(org, record, files=files)
    async with serve() as dashboard:
        for path in (*PAGES, *ANSWERS, "/api/tasks/acme/fix/history"):
            shown = await dashboard.text(path)
            assert "hunter2" not in shown, path
        assert "git.example/web.git" in await dashboard.text("/tasks/acme/fix")


class FailingModel(ReadModel):
    """Raises an unexpected exception twice."""

    failures = 2

    def advance(self) -> Update | None:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("unexpected")
        return super().advance()


async def test_following_continues_after_an_internal_error(
    repository: StateRepository, tmp_path: Path
) -> None:
    """I10: an internal error is reported as such, and old pages do not look current."""
    repository.orgs("acme", acme=("fix",))
    with Mirror.open(str(repository.path), tmp_path / "mirror") as mirror:
        model = FailingModel(mirror, branch="main", status_branch="status")
        poll = timedelta(milliseconds=50)
        follower = Follower(mirror, model, branches=("main", "status"), poll=poll)
        await follower._load()
        await follower._refresh()
        assert "unexpected ZeroDivisionError" in follower.health.fault
        assert not follower.health.ready
        await follower._refresh()
        assert (follower.health.ready, follower.health.fault) == (True, "")
        assert "acme" in follower.model.current.orgs


async def test_invalid_requests_get_the_documented_error(
    serve: Serve, repository: StateRepository
) -> None:
    """I10: JSON under /api, a page elsewhere, with a message and a remedy."""
    repository.orgs("acme", acme=("fix",))
    requests = {
        "/orgs/acme/tasks?per_page=0": 400,
        "/orgs/acme/tasks?sort=random()": 400,
        "/orgs/acme/tasks?state=odd": 400,
        "/activity?limit=many": 400,
        "/orgs/Acme/tasks": 404,
        "/tasks/acme/none": 404,
        "/tasks/acme/fix/artifacts/none.json": 404,
        "/nowhere": 404,
    }
    async with serve() as dashboard:
        for path, status in requests.items():
            answer = await dashboard.get("/api" + path)
            assert answer.status_code == status, path
            assert answer.headers["content-type"] == "application/json"
            assert set(answer.json()) == {"error"}
            assert set(answer.json()["error"]) == {"message", "cure"}
            assert answer.json()["error"]["message"], path
        page = await dashboard.get("/orgs/Acme")
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "invalid org name" in page.text
        refused = await dashboard.get("/api/orgs", method="POST")
        assert {word.strip() for word in refused.headers["allow"].split(",")} == {"GET", "HEAD"}


async def test_a_valid_record_is_served_unchanged(
    serve: Serve, repository: StateRepository
) -> None:
    """Masking changes only user information of URLs: emoji, accents and e-mail addresses stay."""
    repository.orgs("acme", acme=("fix",))
    message = 'mail a@b.example \U0001f600 é "quoted" https://git.example/x?a=1'
    record = task_record("acme", "fix", message=message, result="TaskFailed")
    repository.report(record)
    async with serve() as dashboard:
        shown = (await dashboard.json("/api/tasks/acme/fix"))["record"]
    assert readable_json(shown) == readable_json(record.to_json())
