"""Bitbucket Data Center, with answers in the shapes documented for its REST API 1.0.

No Bitbucket is reached: the shapes are cut down from developer.atlassian.com to the fields that
matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from guildnet.forges import CommitStatus, ForgeRefused, ForgeUnavailable, PullRequestDraft
from guildnet.forges.bitbucket_server import BitbucketServer

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

TOKEN = "BBDC-MTIzNDU2Nzg5MDEy"
REPOSITORY = "/rest/api/1.0/projects/ACME/repos/web"
PULLS = f"{REPOSITORY}/pull-requests"
BRANCH = "guildnet/acme/fix"


def _pull(number: int = 1, *, state: str = "OPEN", into: int = 1) -> dict[str, Any]:
    return {
        "id": number,
        "version": 0,
        "title": "Fix the loop",
        "description": "GuildNet-Run: acme/fix/1",
        "state": state,
        "createdDate": 1_769_676_360_123,
        "fromRef": {
            "id": f"refs/heads/{BRANCH}",
            "displayId": BRANCH,
            "latestCommit": "babecafebabecafebabecafebabecafebabecafe",
            "repository": {"id": 1, "slug": "web", "project": {"key": "ACME"}},
        },
        "toRef": {
            "id": "refs/heads/main",
            "displayId": "main",
            "repository": {"id": into, "slug": "web", "project": {"key": "ACME"}},
        },
        "links": {"self": [{"href": f"https://bitbucket.example/pull-requests/{number}"}]},
    }


def _page(*pulls: dict[str, Any], following: int | None = None) -> dict[str, Any]:
    page: dict[str, Any] = {"size": len(pulls), "values": list(pulls), "isLastPage": True}
    return page if following is None else {**page, "isLastPage": False, "nextPageStart": following}


def _refusal(message: str) -> dict[str, Any]:
    return {"errors": [{"context": None, "message": message, "exceptionName": "X"}]}


@pytest.fixture
def bitbucket(scripted: Scripted) -> BitbucketServer:
    return BitbucketServer(scripted.url, "ACME/web", TOKEN)


async def test_a_pull_request_is_opened_as_documented(
    scripted: Scripted, bitbucket: BitbucketServer
) -> None:
    scripted.answer(f"GET {REPOSITORY}/default-branch", {"displayId": "main"})
    scripted.answer(f"POST {PULLS}", _pull(), 201)
    scripted.answer(f"POST {PULLS}/1/participants", _refusal("No such user"), 404)
    scripted.answer(f"POST {PULLS}/1/participants", {"role": "REVIEWER"})

    opened = await bitbucket.create_pull_request(
        PullRequestDraft(BRANCH, "Fix the loop", "Please", reviewers=("nobody", "ann"))
    )

    assert opened.as_artifact() == {
        "url": "https://bitbucket.example/pull-requests/1",
        "provider": "bitbucket-server",
        "repository": "ACME/web",
        "number": 1,
        "state": "open",
        "branch": BRANCH,
        "base": "main",
        "commit": "babecafebabecafebabecafebabecafebabecafe",
        "title": "Fix the loop",
        "createdAt": "2026-01-29T08:46:00Z",
    }
    assert scripted.sent(f"POST {PULLS}") == [
        {
            "title": "Fix the loop",
            "description": "Please",
            "fromRef": {"id": f"refs/heads/{BRANCH}"},
            "toRef": {"id": "refs/heads/main"},
            "draft": False,
        }
    ]
    asked = [body["user"]["name"] for body in scripted.sent(f"POST {PULLS}/1/participants")]
    assert asked == ["nobody", "ann"]
    headers = {name.lower(): value for name, value in scripted.requests[0][2].items()}
    assert headers["authorization"] == f"Bearer {TOKEN}"


async def test_an_open_pull_request_is_returned(
    scripted: Scripted, bitbucket: BitbucketServer
) -> None:
    """I7: a lost answer does not lead to a second pull request."""
    message = "Only one pull request may be open for a given source and target branch"
    scripted.answer(f"POST {PULLS}", _refusal(message), 409)
    scripted.answer(f"GET {PULLS}", _page(_pull(6, state="DECLINED"), _pull(5)))

    opened = await bitbucket.create_pull_request(PullRequestDraft(BRANCH, "Fix", "", base="main"))

    assert opened.number == 5


async def test_states_are_read_and_pull_requests_elsewhere_left_out(
    scripted: Scripted, bitbucket: BitbucketServer
) -> None:
    """I7: a pull request into the parent of this fork is not adopted."""
    scripted.answer(f"GET {PULLS}", _page(_pull(9), _pull(8, into=2), following=100))
    scripted.answer(f"GET {PULLS}", _page(_pull(3, state="MERGED"), _pull(2, state="DECLINED")))

    found = await bitbucket.find_pull_requests(BRANCH)

    assert [(one.number, one.state) for one in found] == [
        (9, "open"),
        (3, "merged"),
        (2, "closed"),
    ]
    first, second = (parse_qs(urlsplit(path).query) for _, path, _, _ in scripted.requests)
    assert first["at"] == [f"refs/heads/{BRANCH}"]
    assert (first["state"], first["direction"]) == (["ALL"], ["OUTGOING"])
    assert (first["start"], second["start"]) == (["0"], ["100"])


async def test_a_commit_status_is_set(scripted: Scripted, bitbucket: BitbucketServer) -> None:
    route = f"POST {REPOSITORY}/commits/6dcb09/builds"
    scripted.answer(route, b"", 204)

    await bitbucket.set_commit_status(CommitStatus("6dcb09", "pending", "guildnet/sync", "x"))

    [sent] = scripted.sent(route)
    assert (sent["key"], sent["state"]) == ("guildnet/sync", "INPROGRESS")
    assert sent["url"] == f"{scripted.url}/projects/ACME/repos/web"


async def test_a_refusal_and_a_rate_limit_are_reported(
    scripted: Scripted, bitbucket: BitbucketServer
) -> None:
    """I10."""
    scripted.answer(f"GET {PULLS}/1", _refusal("You are not permitted"), 401)
    scripted.answer(f"GET {PULLS}/1", _refusal("Too many requests"), 429)

    with pytest.raises(ForgeRefused, match="401: You are not permitted"):
        await bitbucket.get_pull_request(1)
    with pytest.raises(ForgeUnavailable, match="rate limit: Too many requests") as limited:
        await bitbucket.get_pull_request(1)
    assert limited.value.retry_after == 60
