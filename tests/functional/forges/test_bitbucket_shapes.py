"""Bitbucket Cloud, with answers in the shapes documented for its REST API 2.0.

No Bitbucket is reached: the shapes are cut down from developer.atlassian.com to the fields that
matter.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from guildnet.forges import CommitStatus, ForgeRefused, ForgeUnavailable, PullRequestDraft
from guildnet.forges.bitbucket import Bitbucket

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

TOKEN = "ATCTT3xFfGN0123456789"
PULLS = "/repositories/acme/web/pullrequests"
BRANCH = "guildnet/acme/fix"


def _pull(number: int = 1, **changed: Any) -> dict[str, Any]:
    own = {"type": "repository", "full_name": "acme/web", "uuid": "{1}"}
    return {
        "type": "pullrequest",
        "id": number,
        "title": "Fix the loop",
        "description": "GuildNet-Run: acme/fix/1",
        "state": "OPEN",
        "draft": False,
        "created_on": "2026-01-29T08:46:00.123456+00:00",
        "source": {
            "branch": {"name": BRANCH},
            "commit": {"hash": "6dcb09b5b579"},
            "repository": own,
        },
        "destination": {
            "branch": {"name": "main"},
            "commit": {"hash": "0f0f0f0f0f0f"},
            "repository": own,
        },
        "links": {"html": {"href": f"https://bitbucket.org/acme/web/pull-requests/{number}"}},
        **changed,
    }


def _page(*pulls: dict[str, Any], more: bool = False) -> dict[str, Any]:
    page: dict[str, Any] = {"pagelen": 50, "page": 1, "values": list(pulls)}
    return {**page, "next": "https://api.bitbucket.org/2.0/next"} if more else page


def _refusal(message: str, **fields: list[str]) -> dict[str, Any]:
    return {"type": "error", "error": {"message": message, "fields": fields}}


@pytest.fixture
def bitbucket(scripted: Scripted) -> Bitbucket:
    return Bitbucket(scripted.url, "acme/web", TOKEN)


async def test_a_pull_request_is_opened_as_documented(
    scripted: Scripted, bitbucket: Bitbucket
) -> None:
    scripted.answer(f"GET {PULLS}", _page())
    scripted.answer(f"POST {PULLS}", _pull(), 201)
    bad = _refusal("reviewers: Malformed reviewers list", reviewers=["Malformed reviewers list"])
    scripted.answer(f"PUT {PULLS}/1", bad, 400)
    scripted.answer(f"PUT {PULLS}/1", _pull())

    opened = await bitbucket.create_pull_request(
        PullRequestDraft(
            BRANCH,
            "Fix the loop",
            "Please",
            base="main",
            draft=True,
            labels=("not known here",),
            reviewers=("nobody", "{uuid-1}", "5b10a2844c20165700ede21g"),
        )
    )

    assert opened.as_artifact() == {
        "url": "https://bitbucket.org/acme/web/pull-requests/1",
        "provider": "bitbucket",
        "repository": "acme/web",
        "number": 1,
        "state": "open",
        "branch": BRANCH,
        "base": "main",
        "commit": "6dcb09b5b579",
        "title": "Fix the loop",
        "createdAt": "2026-01-29T08:46:00Z",
    }
    assert scripted.sent(f"POST {PULLS}") == [
        {
            "title": "Fix the loop",
            "description": "Please",
            "source": {"branch": {"name": BRANCH}},
            "destination": {"branch": {"name": "main"}},
            "draft": True,
        }
    ]
    asked = [body["reviewers"] for body in scripted.sent(f"PUT {PULLS}/1")]
    first, second = {"uuid": "{uuid-1}"}, {"account_id": "5b10a2844c20165700ede21g"}
    assert asked == [[{"account_id": "nobody"}], [first], [first, second]]
    headers = {name.lower(): value for name, value in scripted.requests[0][2].items()}
    assert headers["authorization"] == f"Bearer {TOKEN}"


async def test_an_open_pull_request_is_returned(scripted: Scripted, bitbucket: Bitbucket) -> None:
    """I7: a lost answer does not lead to a second pull request."""
    scripted.answer("GET /repositories/acme/web", {"mainbranch": {"name": "main"}})
    scripted.answer(f"GET {PULLS}", _page(_pull(6, state="DECLINED"), _pull(5)))

    opened = await bitbucket.create_pull_request(PullRequestDraft(BRANCH, "Fix", ""))

    assert opened.number == 5
    assert scripted.sent(f"POST {PULLS}") == []


async def test_states_are_read_and_pull_requests_of_forks_left_out(
    scripted: Scripted, bitbucket: Bitbucket
) -> None:
    """I7: a fork's pull request of the same branch name is never adopted."""
    fork = _pull(1)
    fork["source"] = {**fork["source"], "repository": {"full_name": "mallory/web"}}
    gone = _pull(4)
    gone["source"] = {**gone["source"], "repository": None}
    first = _page(_pull(9), _pull(3, state="MERGED"), fork, gone, more=True)
    scripted.answer(f"GET {PULLS}", first)
    scripted.answer(f"GET {PULLS}", _page(_pull(2, state="SUPERSEDED"), _pull(1, state="DECLINED")))

    found = await bitbucket.find_pull_requests(BRANCH)

    assert [(one.number, one.state) for one in found] == [
        (9, "open"),
        (3, "merged"),
        (2, "closed"),
        (1, "closed"),
    ]
    asked = [parse_qs(urlsplit(path).query) for _, path, _, _ in scripted.requests]
    assert asked[0]["state"] == ["OPEN", "MERGED", "DECLINED", "SUPERSEDED"]
    assert asked[0]["q"] == [f'source.branch.name="{BRANCH}"']
    assert [query["page"] for query in asked] == [["1"], ["2"]]


async def test_a_branch_name_is_escaped_in_the_query(
    scripted: Scripted, bitbucket: Bitbucket
) -> None:
    scripted.answer(f"GET {PULLS}", _page())

    await bitbucket.find_pull_requests('a" OR state="MERGED')

    [query] = parse_qs(urlsplit(scripted.requests[0][1]).query)["q"]
    assert query == 'source.branch.name="a\\" OR state=\\"MERGED"'


async def test_a_commit_status_is_within_bitbuckets_limits(
    scripted: Scripted, bitbucket: Bitbucket
) -> None:
    route = "POST /repositories/acme/web/commit/6dcb09/statuses/build"
    scripted.answer(route, {"key": "guildnet/sync"}, 201)

    await bitbucket.set_commit_status(CommitStatus("6dcb09", "failure", "guildnet/sync", "x" * 500))

    assert scripted.sent(route) == [
        {
            "key": "guildnet/sync",
            "name": "guildnet/sync",
            "state": "FAILED",
            "description": "x" * 255,
            "url": "https://bitbucket.org/acme/web",
        }
    ]


async def test_a_persons_token_is_sent_as_a_password_and_masked(scripted: Scripted) -> None:
    """I8: neither the token nor its base64 is in an error."""
    secret = "ann@corp.example:ATATT3xFfGF0T5JxVd"
    basic = base64.b64encode(secret.encode()).decode()
    bitbucket = Bitbucket(scripted.url, "acme/web", secret)
    scripted.answer(f"GET {PULLS}/1", _refusal(f"Basic {basic} is not known"), 401)

    with pytest.raises(ForgeRefused, match="is not known") as refused:
        await bitbucket.get_pull_request(1)

    headers = {name.lower(): value for name, value in scripted.requests[0][2].items()}
    assert headers["authorization"] == f"Basic {basic}"
    assert basic not in str(refused.value)


async def test_a_rate_limit_waits_a_minute(scripted: Scripted, bitbucket: Bitbucket) -> None:
    message = _refusal("Rate limit for this resource has been exceeded")
    scripted.answer(f"GET {PULLS}/1", message, 429)

    with pytest.raises(ForgeUnavailable, match="Rate limit for this resource") as limited:
        await bitbucket.get_pull_request(1)

    assert limited.value.retry_after == 60


async def test_a_refusal_has_its_fields_in_the_message(
    scripted: Scripted, bitbucket: Bitbucket
) -> None:
    """I10."""
    scripted.answer(f"GET {PULLS}", _page())
    scripted.answer(f"POST {PULLS}", _refusal("Bad request", source=["branch not found"]), 400)

    with pytest.raises(ForgeRefused, match="400: Bad request; source: branch not found"):
        await bitbucket.create_pull_request(PullRequestDraft(BRANCH, "Fix", "", base="main"))
