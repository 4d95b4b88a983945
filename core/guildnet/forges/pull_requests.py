"""What every forge needs for pull requests beyond its own shapes, and the shape that two share."""

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

#: What most forges have room for in a title.
MAX_TITLE = 255


def from_github_shape(answer: Any, forge: Forge, *, branch: Literal["ref", "label"]) -> PullRequest:
    """A pull request as GitHub and, after its example, Gitea tell it.

    ``branch`` is the field of ``head`` that names the branch.
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
    # GitHub's lists carry merged_at alone, Gitea's merged as well.
    if value(answer, "merged") is True or value(answer, "merged_at") is not None:
        return "merged"
    return "open" if text(answer, "state") == "open" else "closed"


async def open_one(forge: Forge, branch: str, base: str) -> PullRequest | None:
    """The pull request that is open from ``branch`` into ``base``."""
    for found in await forge.find_pull_requests(branch):
        if found.state == "open" and found.base == base:
            return found
    return None


def title_of(draft: PullRequestDraft, draft_prefix: str = "") -> str:
    """The title within what forges take; ``draft_prefix`` is how a title says draft."""
    return _cut(_encodable((draft_prefix if draft.draft else "") + draft.title), MAX_TITLE)


def body_within(body: str, limit: int) -> str:
    """The description within a forge's limit; its last paragraph stays, because the run's trailer
    is there, by which the pull request is found again."""
    body = _encodable(body)
    if _length(body) <= limit:
        return body
    rest, _, last = body.rpartition("\n\n")
    end = f"\n\n[cut: the forge takes at most {limit} characters]\n\n{last}"
    room = limit - _length(end)
    return _cut(rest, room) + end if rest and room > 0 else _cut(body, limit)


def _encodable(words: str) -> str:
    """Half a surrogate pair, which a task's JSON can carry and a request cannot, is replaced."""
    return words.encode(errors="replace").decode()


def _length(words: str) -> int:
    """In UTF-16 units: the forges that count another way count fewer."""
    return len(words.encode("utf-16-le")) // 2


def _cut(words: str, limit: int) -> str:
    return words.encode("utf-16-le")[: 2 * limit].decode("utf-16-le", errors="ignore")


async def ask_each(
    ask: Callable[[str, Mapping[str, Any]], Awaitable[Any]],
    wanted: Iterable[tuple[str, Mapping[str, Any]]],
) -> None:
    """Ask for each (path, body) by itself, and go on where the forge will not or cannot.

    For labels and reviewers of a pull request that is open: it is what matters, and must not be
    opened again for these.
    """
    for path, body in wanted:
        try:
            await ask(path, body)
        except (ForgeRefused, ForgeUnavailable):
            continue
