"""GitLab, through its REST API (``/api/v4``): gitlab.com and self-managed GitLab.

Written and tested against the documentation at docs.gitlab.com. A pull request is a merge request
here, and its number the ``iid``. GitLab creates labels that do not exist.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from guildnet.backoff import seconds_until
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
from guildnet.forges.pull_requests import body_within, open_one_or_raise, send_each, title_of
from guildnet.forges.transport import RateLimit, Transport

_PAGE = 100
_MAX_PAGES = 10
_MAX_DESCRIPTION = 255
_DRAFT_PREFIX = "Draft: "
_STATUSES = {"pending": "pending", "success": "success", "failure": "failed", "error": "failed"}

#: The longest description, in characters.
MAX_BODY = 1048576


class GitLab:
    """One project on a GitLab server."""

    provider = "gitlab"

    def __init__(
        self, root_url: str, repository: str, token: str | None, authorities: str | None = None
    ) -> None:
        """``root_url`` is where the forge's pages start, ``repository`` the project's full path
        with all its groups. ``token`` is a personal, group, project or OAuth access token."""
        self.repository = repository
        self._path = "/projects/" + quote(repository, safe="")
        self._transport = gitlab_api(root_url, token, authorities)

    async def find_pull_requests(self, branch: str) -> list[PullRequest]:
        """See `Forge`."""
        found: list[PullRequest] = []
        for page in range(1, _MAX_PAGES + 1):
            listed = items(
                await self._transport.get(
                    f"{self._path}/merge_requests",
                    source_branch=branch,
                    state="all",
                    order_by="created_at",
                    sort="desc",
                    per_page=_PAGE,
                    page=page,
                )
            )
            found += [
                self._pull_request(answer) for answer in listed if _has_source(answer, branch)
            ]
            if len(listed) < _PAGE:
                break
        return found

    async def create_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """See `Forge`. GitLab answers 409 if one is already open from this branch."""
        base = draft.base or text(await self._transport.get(self._path), "default_branch")
        body = {
            "source_branch": draft.branch,
            "target_branch": base,
            "title": title_of(draft, _DRAFT_PREFIX),
            "description": body_within(draft.body, MAX_BODY),
        }
        try:
            answer = await self._transport.post(f"{self._path}/merge_requests", body)
        except ForgeRefused as refusal:
            return await open_one_or_raise(self, draft, base, refusal, conflict=409)
        opened = self._pull_request(answer)
        await self._decorate(opened.number, draft)
        return opened

    async def get_pull_request(self, number: int) -> PullRequest:
        """See `Forge`."""
        answer = await self._transport.get(f"{self._path}/merge_requests/{number}")
        return self._pull_request(answer)

    async def set_commit_status(self, status: CommitStatus) -> None:
        """See `Forge`. GitLab has no error state: an error is sent as failed."""
        state = _STATUSES[status.state]
        body = {
            "state": state,
            "name": status.context,
            "description": status.description[:_MAX_DESCRIPTION],
            **({"target_url": status.target_url} if status.target_url else {}),
        }
        try:
            await self._transport.post(f"{self._path}/statuses/{quote(status.sha)}", body)
        except ForgeRefused as refusal:
            if refusal.status != 400 or not await self._is_set(status, state):
                raise

    async def _is_set(self, status: CommitStatus, state: str) -> bool:
        """Whether the commit has this status: GitLab refuses to set the same state again."""
        path = f"{self._path}/repository/commits/{quote(status.sha)}/statuses"
        listed = items(await self._transport.get(path, name=status.context))
        return any(
            value(answer, "name") == status.context and value(answer, "status") == state
            for answer in listed
        )

    async def _decorate(self, number: int, draft: PullRequestDraft) -> None:
        path = f"{self._path}/merge_requests/{number}"
        wanted: list[tuple[str, Mapping[str, Any]]] = []
        if draft.labels:
            wanted.append((path, {"labels": ",".join(draft.labels)}))
        reviewers = [found for name in draft.reviewers for found in await self._user_ids(name)]
        if reviewers:
            wanted.append((path, {"reviewer_ids": reviewers}))
        await send_each(self._transport.put, wanted)

    async def _user_ids(self, name: str) -> list[int]:
        try:
            listed = items(await self._transport.get("/users", username=name))
            named = [answer for answer in listed if _is_named(answer, name)]
            return [integer(answer, "id") for answer in named]
        except (ForgeRefused, ForgeUnavailable):
            return []

    def _pull_request(self, answer: Any) -> PullRequest:
        return PullRequest(
            url=web_url(answer, "web_url"),
            provider=self.provider,
            repository=self.repository,
            number=integer(answer, "iid"),
            state=_state(text(answer, "state")),
            branch=name(answer, "source_branch"),
            base=name(answer, "target_branch"),
            # Null for a moment after the merge request was created.
            commit=commit_id(answer, "sha"),
            title=text(answer, "title"),
            created_at=utc(text(answer, "created_at")),
            body=optional_text(answer, "description"),
        )


def gitlab_api(root_url: str, token: str | None, authorities: str | None) -> Transport:
    """The API of the GitLab whose pages start at ``root_url``."""
    return Transport(
        f"{root_url.rstrip('/')}/api/v4",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        secret=token,
        authorities=authorities,
        rate_limit=read_rate_limit,
    )


def read_rate_limit(status: int, headers: Mapping[str, str], message: str) -> RateLimit | None:
    """GitLab answers 429 with ``RateLimit-Reset``, a Unix time, if an administrator has set the
    limit; gitlab.com's limits are per minute and often have no header.

    Source: docs.gitlab.com, "User and IP rate limits", response headers.
    """
    del message
    if status != 429:
        return None
    seconds = seconds_until(headers.get("ratelimit-reset"), time.time())
    return RateLimit(60.0 if seconds is None else seconds)


def _is_named(answer: Any, name: str) -> bool:
    return optional_text(answer, "username").lower() == name.lower()


def _has_source(answer: Any, branch: str) -> bool:
    """Whether the source is ``branch`` of the project itself, not of a fork."""
    return text(answer, "source_branch") == branch and value(answer, "source_project_id") == value(
        answer, "target_project_id"
    )


def _state(state: str) -> PullRequestState:
    # "locked" is a merge in progress.
    if state == "merged":
        return "merged"
    return "open" if state in ("opened", "locked") else "closed"
