"""A change of the checkout as a pull request: a branch of its own, pushed, and opened at the forge.

The checkout is afterwards as it was before the change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guildnet.errors import ConfigurationError, ForgeError, GuildNetError
from guildnet.forges import Forge, PullRequest, PullRequestDraft, detect
from guildnet.git.checkout import Checkout
from guildnet.secret_files import read_secret

_LOG_IN = (
    "Name a file with a token that may open pull requests by --forge-token-file, or let git "
    "remember it for this host with a credential helper."
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A commit on a branch of origin, and the pull request that asks for it."""

    commit: str
    branch: str
    pull_request: PullRequest


def forge_of(root: Path, token_file: Path | None) -> Forge:
    """The forge of origin, with the token of the file, else what git remembers for its host.

    Raises ConfigurationError where origin is missing or has no pull requests that we know,
    ForgeUnavailable where it gives no answer. Nothing is changed.
    """
    checkout = Checkout(root)
    url = checkout.origin_url()
    if url is None:
        raise ConfigurationError(
            "the checkout has no remote called origin",
            place=str(root),
            cure="Add it with `git remote add origin URL`.",
        )
    token = _read(token_file) if token_file is not None else checkout.stored_password(url)
    found = asyncio.run(detect(url, token=token))
    if found is None:
        raise ConfigurationError(
            "origin is no forge that GuildNet can open pull requests at",
            place=str(root),
            cure="Use --push, from a branch where the source branch is protected.",
        )
    return found


def propose(
    root: Path, paths: Sequence[str], message: str, *, forge: Forge, branch_prefix: str
) -> Proposal:
    """Commit `paths` on a new branch, push it, and open a pull request with the plan in it.

    Raises PushRejected or ForgeError; the branch, and the commit on it, stay then.
    """
    checkout = Checkout(root)
    base, upstream = checkout.head(), checkout.upstream_branch()
    with checkout.detached():
        commit = checkout.commit(paths, message)
    branch = checkout.create_branch(f"{branch_prefix}-{commit[:8]}", commit)
    checkout.push_branch(branch)
    draft = PullRequestDraft(branch, message, _plan(root, base, commit), base=upstream)
    try:
        opened = asyncio.run(forge.create_pull_request(draft))
    except ForgeError as error:
        raise GuildNetError(
            f"branch {branch} is pushed, but no pull request could be opened: {error.message}",
            place=error.place,
            cure=f"Open it at the forge. {_LOG_IN}",
        ) from error
    return Proposal(commit, branch, opened)


def _plan(root: Path, base: str, commit: str) -> str:
    """What merging it would do, for whoever reviews it."""
    from guildnet_cli.plan_view import as_markdown
    from guildnet_reconciler.offline import plan_between

    return as_markdown(plan_between(root, base, commit))


def _read(token_file: Path) -> str:
    token = read_secret(token_file.expanduser())
    if not token:
        raise ConfigurationError(
            "there is no token in this file", place=str(token_file), cure="Write the token into it."
        )
    return token
