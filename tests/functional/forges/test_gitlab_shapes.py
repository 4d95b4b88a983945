"""GitLab, with answers in the shapes documented for its REST API (v4).

No GitLab is reached: the shapes are cut down from docs.gitlab.com to the fields that matter.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from guildnet.forges import CommitStatus, ForgeRefused, ForgeUnavailable, PullRequestDraft
from guildnet.forges.gitlab import GitLab

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

TOKEN = "glpat-0123456789abcdefghij"
PROJECT = "/api/v4/projects/acme%2Fplatform%2Fweb"
REQUESTS = f"{PROJECT}/merge_requests"
BRANCH = "guildnet/acme/fix"


def _request(number: int = 1, **changed: Any) -> dict[str, Any]:
    return {
        "id": 90_000 + number,
        "iid": number,
        "project_id": 3,
        "title": "Fix the loop",
        "description": "GuildNet-Run: acme/fix/1",
        "state": "opened",
        "created_at": "2026-01-29T09:46:00.123+01:00",
        "target_branch": "main",
        "source_branch": BRANCH,
        "source_project_id": 3,
        "target_project_id": 3,
        "sha": "8888888888888888888888888888888888888888",
        "web_url": f"https://gitlab.example/acme/platform/web/-/merge_requests/{number}",
        **changed,
    }


@pytest.fixture
def gitlab(scripted: Scripted) -> GitLab:
    return GitLab(scripted.url, "acme/platform/web", TOKEN)


async def test_a_merge_request_is_opened_as_documented(scripted: Scripted, gitlab: GitLab) -> None:
    scripted.answer(f"POST {REQUESTS}", _request(), 201)
    scripted.answer("GET /api/v4/users", [{"id": 7, "username": "Octavia"}])
    scripted.answer(f"PUT {REQUESTS}/1", {"message": "403 Forbidden"}, 403)
    scripted.answer(f"PUT {REQUESTS}/1", _request())

    opened = await gitlab.create_pull_request(
        PullRequestDraft(
            BRANCH,
            "x" * 300,
            "Please",
            base="main",
            draft=True,
            labels=("agent", "web"),
            reviewers=("octavia", "nobody"),
        )
    )

    assert opened.as_artifact() == {
        "url": "https://gitlab.example/acme/platform/web/-/merge_requests/1",
        "provider": "gitlab",
        "repository": "acme/platform/web",
        "number": 1,
        "state": "open",
        "branch": BRANCH,
        "base": "main",
        "commit": "8888888888888888888888888888888888888888",
        "title": "Fix the loop",
        "createdAt": "2026-01-29T08:46:00Z",
    }
    [sent] = scripted.sent(f"POST {REQUESTS}")
    assert sent == {
        "source_branch": BRANCH,
        "target_branch": "main",
        "title": ("Draft: " + "x" * 300)[:255],
        "description": "Please",
    }
    assert scripted.sent(f"PUT {REQUESTS}/1") == [{"labels": "agent,web"}, {"reviewer_ids": [7]}]
    headers = {name.lower(): value for name, value in scripted.requests[0][2].items()}
    assert headers["authorization"] == f"Bearer {TOKEN}"


async def test_an_open_pull_request_is_returned(scripted: Scripted, gitlab: GitLab) -> None:
    """I7: a lost answer does not lead to a second merge request."""
    message = ["Another open merge request already exists for this source branch: !5"]
    scripted.answer(f"GET {PROJECT}", {"default_branch": "main"})
    scripted.answer(f"POST {REQUESTS}", {"message": message}, 409)
    scripted.answer(f"GET {REQUESTS}", [_request(6, state="closed"), _request(5)])

    opened = await gitlab.create_pull_request(PullRequestDraft(BRANCH, "Fix", ""))

    assert opened.number == 5


async def test_a_conflict_without_an_open_merge_request_is_reported(
    scripted: Scripted, gitlab: GitLab
) -> None:
    """I10: the message is GitLab's own, in any of its shapes."""
    scripted.answer(f"POST {REQUESTS}", {"message": {"base": ["is locked"]}}, 409)
    scripted.answer(f"GET {REQUESTS}", [])

    with pytest.raises(ForgeRefused, match="409: base: is locked"):
        await gitlab.create_pull_request(PullRequestDraft(BRANCH, "Fix", "", base="main"))


async def test_states_are_read_and_pull_requests_of_forks_left_out(
    scripted: Scripted, gitlab: GitLab
) -> None:
    """I7: a fork's merge request of the same branch name is never adopted."""
    fork = _request(1, source_project_id=77)
    gone = _request(4, source_project_id=None)
    listed = [
        _request(9, sha=None),
        _request(8, state="locked"),
        _request(3, state="merged"),
        _request(2, state="closed"),
    ]
    scripted.answer(f"GET {REQUESTS}", [*listed, fork, gone, _request(5, source_branch="other")])

    found = await gitlab.find_pull_requests(BRANCH)

    assert [(one.number, one.state) for one in found] == [
        (9, "open"),
        (8, "open"),
        (3, "merged"),
        (2, "closed"),
    ]
    assert found[0].commit == ""
    path = scripted.requests[0][1]
    assert path.startswith(REQUESTS + "?")
    assert "state=all" in path
    assert "source_branch=guildnet%2Facme%2Ffix" in path


async def test_all_pages_are_read(scripted: Scripted, gitlab: GitLab) -> None:
    full = [_request(number, state="closed") for number in range(200, 100, -1)]
    scripted.answer(f"GET {REQUESTS}", full)
    scripted.answer(f"GET {REQUESTS}", [_request(1)])

    found = await gitlab.find_pull_requests(BRANCH)

    assert [one.number for one in found] == [*range(200, 100, -1), 1]


async def test_a_commit_status_is_set(scripted: Scripted, gitlab: GitLab) -> None:
    scripted.answer(f"POST {PROJECT}/statuses/6dcb09", {"id": 1}, 201)

    await gitlab.set_commit_status(CommitStatus("6dcb09", "error", "guildnet/sync", "x" * 500))

    [sent] = scripted.sent(f"POST {PROJECT}/statuses/6dcb09")
    assert sent == {"state": "failed", "name": "guildnet/sync", "description": "x" * 255}


async def test_setting_the_same_status_again_is_not_a_failure(
    scripted: Scripted, gitlab: GitLab
) -> None:
    """I4: setting a status twice has the same result; GitLab refuses pending to pending."""
    message = "Cannot transition status via :enqueue from :pending"
    scripted.answer(f"POST {PROJECT}/statuses/6dcb09", {"message": message}, 400)
    statuses = f"GET {PROJECT}/repository/commits/6dcb09/statuses"
    scripted.answer(statuses, [{"name": "guildnet/sync", "status": "pending"}])
    scripted.answer(statuses, [{"name": "other", "status": "pending"}])
    pending = CommitStatus("6dcb09", "pending", "guildnet/sync", "")

    await gitlab.set_commit_status(pending)
    with pytest.raises(ForgeRefused, match="enqueue"):
        await gitlab.set_commit_status(pending)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "30"}, 30), ({"ratelimit-reset": "RESET"}, 90), ({}, 60)],
)
async def test_a_rate_limit_waits_as_the_forge_asks(
    scripted: Scripted, gitlab: GitLab, headers: dict[str, str], seconds: float
) -> None:
    reset = str(int(time.time()) + 90)
    headers_now = {name: value.replace("RESET", reset) for name, value in headers.items()}
    scripted.answer(f"GET {REQUESTS}/1", b"Retry later\n", 429, headers_now)

    with pytest.raises(ForgeUnavailable, match="rate limit: Retry later") as limited:
        await gitlab.get_pull_request(1)

    assert limited.value.retry_after == pytest.approx(seconds, abs=5)
