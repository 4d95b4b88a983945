"""GitHub and GitHub Enterprise, through their REST API, version 2022-11-28."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from guildnet.backoff import seconds_until
from guildnet.errors import ForgeRefused
from guildnet.forges.answers import items, text, value
from guildnet.forges.port import CommitStatus, PullRequest, PullRequestDraft
from guildnet.forges.pull_requests import (
    body_within,
    from_github_shape,
    open_one_or_raise,
    send_each,
    title_of,
)
from guildnet.forges.transport import RateLimit, Transport, retry_after

_PAGE = 100
_MAX_PAGES = 10
_MAX_DESCRIPTION = 140

#: The longest description, in characters.
MAX_BODY = 65536


class GitHub:
    """One repository on GitHub."""

    provider = "github"

    def __init__(
        self, api_url: str, repository: str, token: str | None, authorities: str | None = None
    ) -> None:
        """``api_url`` is the API's root, ``repository`` is ``owner/name``."""
        self.repository = repository
        self._path = "/repos/" + quote(repository)
        self._transport = github_api(api_url, token, authorities)

    async def find_pull_requests(self, branch: str) -> list[PullRequest]:
        """See `Forge`."""
        owner = self.repository.partition("/")[0]
        found: list[PullRequest] = []
        for page in range(1, _MAX_PAGES + 1):
            listed = items(
                await self._transport.get(
                    f"{self._path}/pulls",
                    state="all",
                    head=f"{owner}:{branch}",
                    per_page=_PAGE,
                    page=page,
                )
            )
            found += [
                self._pull_request(answer) for answer in listed if self._is_own(answer, branch)
            ]
            if len(listed) < _PAGE:
                break
        return found

    async def create_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """See `Forge`. If the plan has no drafts, an ordinary one is opened."""
        base = draft.base or text(await self._transport.get(self._path), "default_branch")
        body: dict[str, Any] = {
            "head": draft.branch,
            "base": base,
            "title": title_of(draft),
            "body": body_within(draft.body, MAX_BODY),
            "draft": draft.draft,
        }
        try:
            answer = await self._open(body)
        except ForgeRefused as refusal:
            # 422 has other causes too, such as no commits: it is fine only if one is open already.
            return await open_one_or_raise(self, draft, base, refusal, conflict=422)
        opened = self._pull_request(answer)
        await self._decorate(opened.number, draft)
        return opened

    async def get_pull_request(self, number: int) -> PullRequest:
        """See `Forge`."""
        return self._pull_request(await self._transport.get(f"{self._path}/pulls/{number}"))

    async def set_commit_status(self, status: CommitStatus) -> None:
        """See `Forge`."""
        body = {
            "state": status.state,
            "context": status.context,
            "description": status.description[:_MAX_DESCRIPTION],
            **({"target_url": status.target_url} if status.target_url else {}),
        }
        await self._transport.post(f"{self._path}/statuses/{quote(status.sha)}", body)

    async def _open(self, body: dict[str, Any]) -> Any:
        try:
            return await self._transport.post(f"{self._path}/pulls", body)
        except ForgeRefused as refusal:
            if not (body["draft"] and refusal.status == 422 and "draft" in refusal.message.lower()):
                raise
        return await self._transport.post(f"{self._path}/pulls", {**body, "draft": False})

    async def _decorate(self, number: int, draft: PullRequestDraft) -> None:
        wanted: list[tuple[str, Mapping[str, Any]]] = []
        if draft.labels:
            wanted.append((f"{self._path}/issues/{number}/labels", {"labels": list(draft.labels)}))
        # One request each: GitHub refuses all reviewers if one of them may not review.
        path = f"{self._path}/pulls/{number}/requested_reviewers"
        wanted += [(path, {"reviewers": [reviewer]}) for reviewer in draft.reviewers]
        await send_each(self._transport.post, wanted)

    def _is_own(self, answer: Any, branch: str) -> bool:
        """Check the branch again: GitHub ignores a ``head`` that it cannot parse and lists all."""
        full_name = value(answer, "head", "repo", "full_name")
        same = isinstance(full_name, str) and full_name.lower() == self.repository.lower()
        # A deleted fork has no repository; the label still contains its owner.
        own_label = text(answer, "head", "label") == f"{self.repository.partition('/')[0]}:{branch}"
        return value(answer, "head", "ref") == branch and (
            same or (full_name is None and own_label)
        )

    def _pull_request(self, answer: Any) -> PullRequest:
        return from_github_shape(answer, self, branch="ref")


def github_api(api_url: str, token: str | None, authorities: str | None) -> Transport:
    """The API whose root is ``api_url``."""
    return Transport(
        api_url,
        headers={
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        },
        secret=token,
        authorities=authorities,
        rate_limit=read_rate_limit,
    )


def read_rate_limit(status: int, headers: Mapping[str, str], message: str) -> RateLimit | None:
    """GitHub answers 403 both for rate limits and for missing permissions.

    Source: docs.github.com, "Best practices for using the REST API", handling rate limits.
    """
    if status not in (403, 429):
        return None
    wait = retry_after(headers)
    if wait is not None:
        return RateLimit(wait)
    if headers.get("x-ratelimit-remaining") == "0":
        seconds = seconds_until(headers.get("x-ratelimit-reset"), time.time())
        return RateLimit(60.0 if seconds is None else seconds)
    # For a secondary limit without headers, GitHub asks to wait at least a minute.
    is_limit = status == 429 or "secondary rate limit" in message.lower()
    return RateLimit(60.0) if is_limit else None
