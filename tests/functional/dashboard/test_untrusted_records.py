"""A record that GuildNet would never write breaks no page, ends no following, leaks nothing."""

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
async def test_no_content_breaks_a_page_or_ends_the_following(
    serve: Serve, repository: StateRepository, content: bytes
) -> None:
    """I3, I9: it is told at its task, every other page and the next commit come through."""
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
    """I8: not in a page, not in the API's raw record, not in an artifact or the log's tail."""
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


class StumblingModel(ReadModel):
    """Meets something nobody thought of, twice."""

    stumbles = 2

    def advance(self) -> Update | None:
        if self.stumbles:
            self.stumbles -= 1
            raise ZeroDivisionError("nobody thought of this")
        return super().advance()


async def test_following_goes_on_after_what_nobody_thought_of(
    repository: StateRepository, tmp_path: Path
) -> None:
    """I10: a defect of ours is told as one, and does not leave old pages that look new."""
    repository.orgs("acme", acme=("fix",))
    with Mirror.open(str(repository.path), tmp_path / "mirror") as mirror:
        model = StumblingModel(mirror, branch="main", status_branch="status")
        poll = timedelta(milliseconds=50)
        follower = Follower(mirror, model, branches=("main", "status"), poll=poll)
        await follower._load()
        await follower._pass()
        assert "not understood (ZeroDivisionError)" in follower.health.fault
        assert not follower.health.ready
        await follower._pass()
        assert (follower.health.ready, follower.health.fault) == (True, "")
        assert "acme" in follower.shown.orgs


async def test_what_cannot_be_asked_is_answered_in_the_shape_that_is_documented(
    serve: Serve, repository: StateRepository
) -> None:
    """I10: JSON under /api, a page elsewhere; a message and what to do."""
    repository.orgs("acme", acme=("fix",))
    asked = {
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
        for path, status in asked.items():
            answer = await dashboard.get("/api" + path)
            assert answer.status_code == status, path
            assert answer.headers["content-type"] == "application/json"
            assert set(answer.json()) == {"error"}
            assert set(answer.json()["error"]) == {"message", "cure"}
            assert answer.json()["error"]["message"], path
        page = await dashboard.get("/orgs/Acme")
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "there is no org of that name" in page.text
        refused = await dashboard.get("/api/orgs", method="POST")
        assert {word.strip() for word in refused.headers["allow"].split(",")} == {"GET", "HEAD"}


async def test_a_written_record_is_read_as_it_was_written(
    serve: Serve, repository: StateRepository
) -> None:
    """Masking touches nothing but user information: pairs of surrogates, accents and mail stay."""
    repository.orgs("acme", acme=("fix",))
    said = 'mail a@b.example \U0001f600 é "quoted" https://git.example/x?a=1'
    record = task_record("acme", "fix", message=said, result="TaskFailed")
    repository.report(record)
    async with serve() as dashboard:
        shown = (await dashboard.json("/api/tasks/acme/fix"))["record"]
    assert readable_json(shown) == readable_json(record.to_json())
