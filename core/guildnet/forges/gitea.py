"""Gitea and Forgejo, through their REST API (``/api/v1``)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote

from guildnet.errors import ForgeRefused
from guildnet.forges.answers import integer, items, text, value
from guildnet.forges.port import CommitStatus, PullRequest, PullRequestDraft
from guildnet.forges.pull_requests import (
    body_within,
    from_github_shape,
    open_one_or_raise,
    send_each,
    title_of,
)
from guildnet.forges.transport import Transport, no_rate_limit

_PAGE = 50
#: Gitea cannot search pull requests by branch, so the newest are listed and filtered.
_MAX_PAGES = 20
#: The length of the database column for a status' description.
_MAX_DESCRIPTION = 255
#: Marks a title as a draft, by Gitea's default setting.
_DRAFT_PREFIX = "WIP: "

#: The longest description, in characters.
MAX_BODY = 65536


class Gitea:
    """One repository on a Gitea or Forgejo server."""

    provider = "gitea"

    def __init__(
        self, root_url: str, repository: str, token: str | None, authorities: str | None = None
    ) -> None:
        """``root_url`` is where the forge's pages start, ``repository`` is ``owner/name``."""
        self.repository = repository
        self._path = "/repos/" + quote(repository)
        self._transport = gitea_api(root_url, token, authorities)

    async def find_pull_requests(self, branch: str) -> list[PullRequest]:
        """See `Forge`. The newest 1,000 are searched, then those into the default branch."""
        found: list[PullRequest] = []
        for page in range(1, _MAX_PAGES + 1):
            listed = items(
                await self._transport.get(
                    f"{self._path}/pulls", state="all", limit=_PAGE, page=page
                )
            )
            found += [self._pull_request(answer) for answer in listed if _has_head(answer, branch)]
            # A server may return smaller pages than requested: only an empty one is the last.
            if not listed:
                return found
        return found or await self._find_into_default_branch(branch)

    async def create_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """See `Forge`."""
        base = draft.base or await self._default_branch()
        body: dict[str, Any] = {
            "head": draft.branch,
            "base": base,
            "title": title_of(draft, _DRAFT_PREFIX),
            "body": body_within(draft.body, MAX_BODY),
            "labels": await self._label_ids(draft.labels),
        }
        try:
            answer = await self._transport.post(f"{self._path}/pulls", body)
        except ForgeRefused as refusal:
            return await open_one_or_raise(self, draft, base, refusal, conflict=409)
        opened = self._pull_request(answer)
        # One request each: Gitea refuses all reviewers if one of them is unknown.
        path = f"{self._path}/pulls/{opened.number}/requested_reviewers"
        wanted = [(path, {"reviewers": [reviewer]}) for reviewer in draft.reviewers]
        await send_each(self._transport.post, wanted)
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
            "target_url": status.target_url or "",
        }
        await self._transport.post(f"{self._path}/statuses/{quote(status.sha)}", body)

    async def _find_into_default_branch(self, branch: str) -> list[PullRequest]:
        base = quote(await self._default_branch(), safe="")
        try:
            answer = await self._transport.get(f"{self._path}/pulls/{base}/{quote(branch)}")
        except ForgeRefused as refusal:
            if refusal.status == 404:
                return []
            raise
        return [self._pull_request(answer)]

    async def _default_branch(self) -> str:
        return text(await self._transport.get(self._path), "default_branch")

    async def _label_ids(self, names: tuple[str, ...]) -> list[int]:
        """The ids of the labels in ``names`` that exist in the repository or its organisation."""
        if not names:
            return []
        labels = await self._labels(f"{self._path}/labels")
        owner = quote(self.repository.partition("/")[0])
        # Refused if the owner is a person, or if the token may not read organisations.
        with suppress(ForgeRefused):
            labels += await self._labels(f"/orgs/{owner}/labels")
        return [integer(label, "id") for label in labels if text(label, "name") in names]

    async def _labels(self, path: str) -> list[Any]:
        labels: list[Any] = []
        for page in range(1, _MAX_PAGES + 1):
            listed = items(await self._transport.get(path, limit=_PAGE, page=page))
            if not listed:
                break
            labels += listed
        return labels

    def _pull_request(self, answer: Any) -> PullRequest:
        # head.ref of a deleted branch is the pull request's own ref; the label keeps the branch.
        return from_github_shape(answer, self, branch="label")


def gitea_api(root_url: str, token: str | None, authorities: str | None) -> Transport:
    """The API of the Gitea whose pages start at ``root_url``."""
    return Transport(
        f"{root_url.rstrip('/')}/api/v1",
        headers={"Authorization": f"token {token}"} if token else {},
        secret=token,
        authorities=authorities,
        rate_limit=no_rate_limit,
    )


def _has_head(answer: Any, branch: str) -> bool:
    """Whether the head is ``branch`` of the repository itself, not of a fork."""
    return text(answer, "head", "label") == branch and value(answer, "head", "repo_id") == value(
        answer, "base", "repo_id"
    )
