"""Bitbucket Data Center (Server), through its REST API 1.0.

Written and tested against the documentation at developer.atlassian.com. It has no labels.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from guildnet.errors import ForgeRefused
from guildnet.forges.answers import (
    commit_id,
    integer,
    items,
    name,
    optional_text,
    text,
    utc_of_milliseconds,
    value,
    web_url,
)
from guildnet.forges.bitbucket import MAX_BODY, MAX_DESCRIPTION, STATUSES, read_rate_limit, state_of
from guildnet.forges.port import CommitStatus, PullRequest, PullRequestDraft
from guildnet.forges.pull_requests import body_within, open_one_or_raise, send_each, title_of
from guildnet.forges.transport import Transport

_PAGE = 100
_MAX_PAGES = 10
_HEADS = "refs/heads/"


class BitbucketServer:
    """One repository on a Bitbucket Data Center server."""

    provider = "bitbucket-server"

    def __init__(
        self, root_url: str, repository: str, token: str | None, authorities: str | None = None
    ) -> None:
        """``root_url`` is where the forge's pages start, ``repository`` is ``project/slug``;
        ``token`` is an HTTP access token."""
        self.repository = repository
        self._root_url = root_url.rstrip("/")
        project, _, slug = repository.partition("/")
        self._path = f"/projects/{quote(project, safe='~')}/repos/{quote(slug)}"
        self._transport = Transport(
            f"{self._root_url}/rest/api/1.0",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            secret=token,
            authorities=authorities,
            rate_limit=read_rate_limit,
        )

    async def find_pull_requests(self, branch: str) -> list[PullRequest]:
        """See `Forge`."""
        found: list[PullRequest] = []
        start = 0
        for _ in range(_MAX_PAGES):
            answer = await self._transport.get(
                f"{self._path}/pull-requests",
                at=_HEADS + branch,
                direction="OUTGOING",
                state="ALL",
                order="NEWEST",
                start=start,
                limit=_PAGE,
            )
            listed = items(value(answer, "values"))
            found += [self._pull_request(one) for one in listed if _is_own(one, branch)]
            if value(answer, "isLastPage") is not False:
                break
            start = integer(answer, "nextPageStart")
        return found

    async def create_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """See `Forge`. Versions before 8.18 have no drafts and open an ordinary one."""
        base = draft.base or await self._default_branch()
        body = {
            "title": title_of(draft),
            "description": body_within(draft.body, MAX_BODY),
            "fromRef": {"id": _HEADS + draft.branch},
            "toRef": {"id": _HEADS + base},
            "draft": draft.draft,
        }
        try:
            answer = await self._transport.post(f"{self._path}/pull-requests", body)
        except ForgeRefused as refusal:
            return await open_one_or_raise(self, draft, base, refusal, conflict=409)
        opened = self._pull_request(answer)
        path = f"{self._path}/pull-requests/{opened.number}/participants"
        wanted = [(path, {"user": {"name": n}, "role": "REVIEWER"}) for n in draft.reviewers]
        await send_each(self._transport.post, wanted)
        return opened

    async def get_pull_request(self, number: int) -> PullRequest:
        """See `Forge`."""
        answer = await self._transport.get(f"{self._path}/pull-requests/{number}")
        return self._pull_request(answer)

    async def set_commit_status(self, status: CommitStatus) -> None:
        """See `Forge`. Bitbucket requires a URL; the default is the repository's own."""
        body = {
            "key": status.context,
            "name": status.context,
            "state": STATUSES[status.state],
            "description": status.description[:MAX_DESCRIPTION],
            "url": status.target_url or self._root_url + self._path,
        }
        await self._transport.post(f"{self._path}/commits/{quote(status.sha)}/builds", body)

    async def _default_branch(self) -> str:
        return text(await self._transport.get(f"{self._path}/default-branch"), "displayId")

    def _pull_request(self, answer: Any) -> PullRequest:
        links = items(value(answer, "links", "self"))
        return PullRequest(
            url=web_url(links[0] if links else None, "href"),
            provider=self.provider,
            repository=self.repository,
            number=integer(answer, "id"),
            state=state_of(text(answer, "state")),
            branch=name(answer, "fromRef", "id").removeprefix(_HEADS),
            base=name(answer, "toRef", "id").removeprefix(_HEADS),
            commit=commit_id(answer, "fromRef", "latestCommit"),
            title=text(answer, "title"),
            created_at=utc_of_milliseconds(answer, "createdDate"),
            body=optional_text(answer, "description"),
        )


def _is_own(answer: Any, branch: str) -> bool:
    """Whether source and target are this repository, not a fork or its parent."""
    return text(answer, "fromRef", "id") == _HEADS + branch and value(
        answer, "fromRef", "repository", "id"
    ) == value(answer, "toRef", "repository", "id")
