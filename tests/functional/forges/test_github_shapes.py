"""GitHub, with answers in the shapes documented for its REST API (version 2022-11-28).

No GitHub is reached: the shapes are cut down from docs.github.com to the fields that matter.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from guildnet.forges import CommitStatus, ForgeRefused, ForgeUnavailable, PullRequestDraft
from guildnet.forges.github import GitHub

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

TOKEN = "github_pat_0123456789"
PULLS = "/repos/octocat/Hello-World/pulls"


def _pull(number: int = 1347, **changed: Any) -> dict[str, Any]:
    own = {"full_name": "octocat/Hello-World"}
    branch = "guildnet/acme/fix"
    head = {"label": f"octocat:{branch}", "ref": branch, "sha": "6dcb09b5b5", "repo": own}
    return {
        "html_url": f"https://github.com/octocat/Hello-World/pull/{number}",
        "number": number,
        "state": "open",
        "title": "Amazing new feature",
        "body": "Please pull these awesome changes in!",
        "created_at": "2011-01-26T19:01:12Z",
        "merged_at": None,
        "head": head,
        "base": {"label": "octocat:main", "ref": "main", "sha": "5dcb09b5b5", "repo": own},
        **changed,
    }


def _refusal(message: str, code: str = "custom") -> dict[str, Any]:
    error = {"resource": "PullRequest", "code": code, "message": message}
    return {"message": "Validation Failed", "errors": [error], "status": "422"}


@pytest.fixture
def github(scripted: Scripted) -> GitHub:
    return GitHub(scripted.url, "octocat/Hello-World", TOKEN)


async def test_a_pull_request_is_opened_as_documented(scripted: Scripted, github: GitHub) -> None:
    scripted.answer(f"POST {PULLS}", _pull(), 201)
    scripted.answer("POST /repos/octocat/Hello-World/issues/1347/labels", [])
    reviewers = f"POST {PULLS}/1347/requested_reviewers"
    scripted.answer(reviewers, {"message": "Reviews may only be requested from"}, 422)
    scripted.answer(reviewers, _pull(), 201)

    opened = await github.create_pull_request(
        PullRequestDraft(
            "guildnet/acme/fix",
            "Amazing new feature",
            "Please",
            base="main",
            labels=("agent",),
            reviewers=("stranger", "octocat"),
        )
    )

    assert opened.as_artifact() == {
        "url": "https://github.com/octocat/Hello-World/pull/1347",
        "provider": "github",
        "repository": "octocat/Hello-World",
        "number": 1347,
        "state": "open",
        "branch": "guildnet/acme/fix",
        "base": "main",
        "commit": "6dcb09b5b5",
        "title": "Amazing new feature",
        "createdAt": "2011-01-26T19:01:12Z",
    }
    assert scripted.sent(f"POST {PULLS}") == [
        {
            "head": "guildnet/acme/fix",
            "base": "main",
            "title": "Amazing new feature",
            "body": "Please",
            "draft": False,
        }
    ]
    assert [body["reviewers"] for body in scripted.sent(reviewers)] == [["stranger"], ["octocat"]]
    headers = {name.lower(): value for name, value in scripted.requests[0][2].items()}
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["x-github-api-version"] == "2022-11-28"


async def test_an_open_pull_request_is_returned(scripted: Scripted, github: GitHub) -> None:
    """I7: a lost answer does not lead to a second pull request."""
    message = "A pull request already exists for octocat:guildnet/acme/fix."
    scripted.answer(f"POST {PULLS}", _refusal(message), 422)
    scripted.answer(f"GET {PULLS}", [_pull(12, state="closed"), _pull(11)])

    opened = await github.create_pull_request(
        PullRequestDraft("guildnet/acme/fix", "Fix", "", base="main")
    )

    assert opened.number == 11


async def test_an_ordinary_pull_request_is_opened_if_drafts_are_not_supported(
    scripted: Scripted, github: GitHub
) -> None:
    message = "Draft pull requests are not supported in this repository."
    scripted.answer("GET /repos/octocat/Hello-World", {"default_branch": "main"})
    scripted.answer(f"POST {PULLS}", _refusal(message), 422)
    scripted.answer(f"POST {PULLS}", _pull(), 201)

    await github.create_pull_request(PullRequestDraft("guildnet/acme/fix", "Fix", "", draft=True))

    assert [body["draft"] for body in scripted.sent(f"POST {PULLS}")] == [True, False]


async def test_states_are_read_and_pull_requests_of_forks_left_out(
    scripted: Scripted, github: GitHub
) -> None:
    """I7: a fork's pull request of the same branch name is never adopted."""
    fork = {
        "label": "mallory:guildnet/acme/fix",
        "ref": "guildnet/acme/fix",
        "sha": "bad",
        "repo": {"full_name": "mallory/Hello-World"},
    }
    gone = {**fork, "repo": None}
    merged = _pull(3, state="closed", merged_at="2011-01-27T19:01:12Z")
    listed = [merged, _pull(2, state="closed"), _pull(1, head=fork), _pull(4, head=gone)]
    scripted.answer(f"GET {PULLS}", listed)

    found = await github.find_pull_requests("guildnet/acme/fix")

    assert [(one.number, one.state) for one in found] == [(3, "merged"), (2, "closed")]
    path = scripted.requests[0][1]
    assert "state=all" in path
    assert "head=octocat%3Aguildnet%2Facme%2Ffix" in path


async def test_a_commit_status_is_within_githubs_limits(scripted: Scripted, github: GitHub) -> None:
    scripted.answer("POST /repos/octocat/Hello-World/statuses/6dcb09", {"id": 1}, 201)

    await github.set_commit_status(CommitStatus("6dcb09", "success", "guildnet/acme", "x" * 500))

    [sent] = scripted.sent("POST /repos/octocat/Hello-World/statuses/6dcb09")
    assert sent == {"state": "success", "context": "guildnet/acme", "description": "x" * 140}


async def test_a_primary_rate_limit_waits_until_its_reset(
    scripted: Scripted, github: GitHub
) -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 90)}
    message = {"message": "API rate limit exceeded for user ID 1."}
    scripted.answer(f"GET {PULLS}/1", message, 403, headers)

    with pytest.raises(ForgeUnavailable, match="rate limit") as limited:
        await github.get_pull_request(1)

    assert limited.value.retry_after == pytest.approx(90, abs=5)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [(403, {"retry-after": "30"}, 30), (403, {}, 60), (429, {"retry-after": "7"}, 7)],
)
async def test_a_secondary_rate_limit_waits_as_the_forge_asks(
    scripted: Scripted, github: GitHub, status: int, headers: dict[str, str], seconds: float
) -> None:
    message = {"message": "You have exceeded a secondary rate limit."}
    scripted.answer(f"GET {PULLS}/1", message, status, headers)

    with pytest.raises(ForgeUnavailable) as limited:
        await github.get_pull_request(1)

    assert limited.value.retry_after == seconds


async def test_missing_rights_are_not_a_rate_limit(scripted: Scripted, github: GitHub) -> None:
    message = {"message": "Resource not accessible by personal access token"}
    scripted.answer(f"POST {PULLS}", message, 403, {"x-ratelimit-remaining": "4999"})

    with pytest.raises(ForgeRefused, match="not accessible") as refused:
        await github.create_pull_request(PullRequestDraft("b", "t", "", base="main"))

    assert refused.value.status == 403
    assert "write access" in str(refused.value)
