"""What every forge needs for pull requests beyond its own shapes, and the shape that two share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal

from guildnet.errors import ForgeRefused, ForgeUnavailable
from guildnet.forges.answers import integer, optional_text, text, utc, value
from guildnet.forges.port import Forge, PullRequest, PullRequestDraft, PullRequestState

#: What most forges have room for in a title.
MAX_TITLE = 255


def from_github_shape(told: Any, forge: Forge, *, branch: Literal["ref", "label"]) -> PullRequest:
    """A pull request as GitHub and, after its example, Gitea tell it.

    ``branch`` is the field of ``head`` that names the branch.
    """
    return PullRequest(
        url=text(told, "html_url"),
        provider=forge.provider,
        repository=forge.repository,
        number=integer(told, "number"),
        state=_github_state(told),
        branch=text(told, "head", branch),
        base=text(told, "base", "ref"),
        commit=text(told, "head", "sha"),
        title=text(told, "title"),
        created_at=utc(text(told, "created_at")),
        body=optional_text(told, "body"),
    )


def _github_state(told: Any) -> PullRequestState:
    # GitHub's lists carry merged_at alone, Gitea's merged as well.
    if value(told, "merged") is True or value(told, "merged_at") is not None:
        return "merged"
    return "open" if text(told, "state") == "open" else "closed"


async def open_one(forge: Forge, branch: str, base: str) -> PullRequest | None:
    """The pull request that is open from ``branch`` into ``base``."""
    for found in await forge.find_pull_requests(branch):
        if found.state == "open" and found.base == base:
            return found
    return None


def title_of(draft: PullRequestDraft, draft_prefix: str = "") -> str:
    """The title within what forges take; ``draft_prefix`` is how a title says draft."""
    return ((draft_prefix if draft.draft else "") + draft.title)[:MAX_TITLE]


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
