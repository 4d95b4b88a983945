"""Bitbucket Cloud, through its REST API 2.0.

Written and tested against the documentation at developer.atlassian.com. Bitbucket has no labels,
and identifies people by account id or ``{uuid}`` instead of a user name.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from guildnet.errors import ForgeRefused, ForgeUnavailable
from guildnet.forges.answers import (
    commit_id,
    integer,
    items,
    name,
    optional_text,
    text,
    utc,
    value,
    web_url,
)
from guildnet.forges.port import CommitStatus, PullRequest, PullRequestDraft, PullRequestState
from guildnet.forges.pull_requests import body_within, open_one, title_of
from guildnet.forges.transport import RateLimit, Transport

API_URL = "https://api.bitbucket.org/2.0"
PAGES_URL = "https://bitbucket.org"
_PAGE = 50
_MAX_PAGES = 20
_MAX_KEY = 40
MAX_DESCRIPTION = 255
_STATES = ("OPEN", "MERGED", "DECLINED", "SUPERSEDED")
STATUSES = {
    "pending": "INPROGRESS",
    "success": "SUCCESSFUL",
    "failure": "FAILED",
    "error": "FAILED",
}

#: The longest description, in characters.
MAX_BODY = 32768


class Bitbucket:
    """One repository on Bitbucket Cloud."""

    provider = "bitbucket"

    def __init__(
        self, api_url: str, repository: str, token: str | None, authorities: str | None = None
    ) -> None:
        """``repository`` is ``workspace/slug``. ``token`` is an access token of a repository,
        project or workspace, or ``email:token`` for the API token of a person."""
        self.repository = repository
        self._path = "/repositories/" + quote(repository)
        self._transport = Transport(
            api_url,
            headers={"Authorization": _authorization(token)} if token else {},
            secret=token,
            authorities=authorities,
            rate_limit=read_rate_limit,
        )

    async def find_pull_requests(self, branch: str) -> list[PullRequest]:
        """See `Forge`. Without ``state``, Bitbucket lists only open ones."""
        escaped = branch.replace("\\", "\\\\").replace('"', '\\"')
        found: list[PullRequest] = []
        for page in range(1, _MAX_PAGES + 1):
            answer = await self._transport.get(
                f"{self._path}/pullrequests",
                q=f'source.branch.name="{escaped}"',
                state=_STATES,
                sort="-created_on",
                pagelen=_PAGE,
                page=page,
            )
            listed = items(value(answer, "values"))
            found += [self._pull_request(one) for one in listed if self._is_own(one, branch)]
            if value(answer, "next") is None:
                break
        return found

    async def create_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """See `Forge`. Bitbucket does not document its answer to a second one from the same
        branch, so this looks for an open one first."""
        base = draft.base or await self._main_branch()
        found = await open_one(self, draft.branch, base)
        if found is not None:
            return found
        body: dict[str, Any] = {
            "title": title_of(draft),
            "description": body_within(draft.body, MAX_BODY),
            "source": {"branch": {"name": draft.branch}},
            "destination": {"branch": {"name": base}},
            "draft": draft.draft,
        }
        opened = self._pull_request(await self._transport.post(f"{self._path}/pullrequests", body))
        await self._request_reviews(opened.number, body, draft.reviewers)
        return opened

    async def get_pull_request(self, number: int) -> PullRequest:
        """See `Forge`."""
        return self._pull_request(await self._transport.get(f"{self._path}/pullrequests/{number}"))

    async def set_commit_status(self, status: CommitStatus) -> None:
        """See `Forge`. Bitbucket requires a URL; the default is the repository's own."""
        body = {
            "key": status.context[:_MAX_KEY],
            "name": status.context,
            "state": STATUSES[status.state],
            "description": status.description[:MAX_DESCRIPTION],
            "url": status.target_url or f"{PAGES_URL}/{quote(self.repository)}",
        }
        await self._transport.post(f"{self._path}/commit/{quote(status.sha)}/statuses/build", body)

    async def _main_branch(self) -> str:
        return text(await self._transport.get(self._path), "mainbranch", "name")

    async def _request_reviews(
        self, number: int, body: Mapping[str, Any], reviewers: tuple[str, ...]
    ) -> None:
        """Add reviewers one at a time: Bitbucket refuses the whole list for one unknown name."""
        taken: list[dict[str, str]] = []
        for reviewer in reviewers:
            wanted = {"uuid" if reviewer.startswith("{") else "account_id": reviewer}
            asked = {"title": body["title"], "draft": body["draft"], "reviewers": [*taken, wanted]}
            try:
                await self._transport.put(f"{self._path}/pullrequests/{number}", asked)
            except (ForgeRefused, ForgeUnavailable):
                continue
            taken.append(wanted)

    def _is_own(self, answer: Any, branch: str) -> bool:
        """Whether the source is ``branch`` of the repository itself, not of a fork."""
        source = optional_text(answer, "source", "repository", "full_name")
        return (
            value(answer, "source", "branch", "name") == branch
            and source.lower() == self.repository.lower()
        )

    def _pull_request(self, answer: Any) -> PullRequest:
        return PullRequest(
            url=web_url(answer, "links", "html", "href"),
            provider=self.provider,
            repository=self.repository,
            number=integer(answer, "id"),
            state=state_of(text(answer, "state")),
            branch=name(answer, "source", "branch", "name"),
            base=name(answer, "destination", "branch", "name"),
            commit=commit_id(answer, "source", "commit", "hash"),
            title=text(answer, "title"),
            created_at=utc(text(answer, "created_on")),
            body=optional_text(answer, "description"),
        )


def read_rate_limit(status: int, headers: Mapping[str, str], message: str) -> RateLimit | None:
    """Bitbucket Cloud counts over a rolling hour and names no time; wait a minute.

    Source: support.atlassian.com, "API request limits".
    """
    del headers, message
    return RateLimit(60.0) if status == 429 else None


def _authorization(token: str) -> str:
    if ":" not in token:
        return f"Bearer {token}"
    return "Basic " + base64.b64encode(token.encode()).decode()


def state_of(state: str) -> PullRequestState:
    """Convert the state of a pull request from Bitbucket, Cloud or Data Center."""
    if state == "OPEN":
        return "open"
    return "merged" if state == "MERGED" else "closed"
