"""What the forges have in common: limits of texts, existing pull requests, one shape of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal

from guildnet.errors import ForgeRefused, ForgeUnavailable
from guildnet.forges.answers import (
    commit_id,
    integer,
    name,
    optional_text,
    text,
    utc,
    value,
    web_url,
)
from guildnet.forges.port import Forge, PullRequest, PullRequestDraft, PullRequestState

#: The longest title that all forges accept.
MAX_TITLE = 255


def from_github_shape(answer: Any, forge: Forge, *, branch: Literal["ref", "label"]) -> PullRequest:
    """Read a pull request in the JSON shape of GitHub, which Gitea uses too.

    ``branch`` is the field of ``head`` that contains the branch.
    """
    return PullRequest(
        url=web_url(answer, "html_url"),
        provider=forge.provider,
        repository=forge.repository,
        number=integer(answer, "number"),
        state=_github_state(answer),
        branch=name(answer, "head", branch),
        base=name(answer, "base", "ref"),
        commit=commit_id(answer, "head", "sha"),
        title=text(answer, "title"),
        created_at=utc(text(answer, "created_at")),
        body=optional_text(answer, "body"),
    )


def _github_state(answer: Any) -> PullRequestState:
    # GitHub's lists contain only merged_at, Gitea's contain merged too.
    if value(answer, "merged") is True or value(answer, "merged_at") is not None:
        return "merged"
    return "open" if text(answer, "state") == "open" else "closed"


async def open_one(forge: Forge, branch: str, base: str) -> PullRequest | None:
    """The open pull request from ``branch`` into ``base``, if there is one."""
    for found in await forge.find_pull_requests(branch):
        if found.state == "open" and found.base == base:
            return found
    return None


async def open_one_or_raise(
    forge: Forge, draft: PullRequestDraft, base: str, refusal: ForgeRefused, *, conflict: int
) -> PullRequest:
    """The open pull request that made the forge refuse a second one with status ``conflict``.

    Raises the refusal if there is none.
    """
    found = None
    if refusal.status == conflict:
        found = await open_one(forge, draft.branch, base)
    if found is None:
        raise refusal
    return found


def title_of(draft: PullRequestDraft, draft_prefix: str = "") -> str:
    """The title, cut to the limit; ``draft_prefix`` marks a draft where titles do that."""
    return _cut(_encodable((draft_prefix if draft.draft else "") + draft.title), MAX_TITLE)


def body_within(body: str, limit: int) -> str:
    """The description, cut to a forge's limit.

    Its last paragraph is kept: it has the run's trailer, which identifies the pull request.
    """
    body = _encodable(body)
    if _length(body) <= limit:
        return body
    rest, _, last = body.rpartition("\n\n")
    end = f"\n\n[cut: the forge allows at most {limit} characters]\n\n{last}"
    room = limit - _length(end)
    return _cut(rest, room) + end if rest and room > 0 else _cut(body, limit)


def _encodable(content: str) -> str:
    """Replace lone surrogates: a task's JSON can contain them, a request cannot."""
    return content.encode(errors="replace").decode()


def _length(content: str) -> int:
    """The length in UTF-16 units; any other way of counting gives at most this."""
    return len(content.encode("utf-16-le")) // 2


def _cut(content: str, limit: int) -> str:
    return content.encode("utf-16-le")[: 2 * limit].decode("utf-16-le", errors="ignore")


async def send_each(
    send: Callable[[str, Mapping[str, Any]], Awaitable[Any]],
    wanted: Iterable[tuple[str, Mapping[str, Any]]],
) -> None:
    """Send each (path, body) as its own request, ignoring failures.

    This is for labels and reviewers of an open pull request: a failure there must not fail the
    step, which would be retried.
    """
    for path, body in wanted:
        try:
            await send(path, body)
        except (ForgeRefused, ForgeUnavailable):
            continue
