"""Propose a change of the checkout: commit on a new branch, push it, open a pull request.

The checkout ends on the branch and commit on which it was.
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
    "Give a file with a token that may open pull requests with --forge-token-file, or store the "
    "token for this host in git's credential helper."
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pushed branch with one commit, and its pull request."""

    commit: str
    branch: str
    pull_request: PullRequest


def forge_of(root: Path, token_file: Path | None) -> Forge:
    """The forge that hosts origin, with the token of the file or of git's credential helper.

    Changes nothing. Raises ConfigurationError where origin is missing or is not hosted by a
    supported forge, ForgeUnavailable where the forge does not answer.
    """
    checkout = Checkout(root)
    url = checkout.origin_url()
    if url is None:
        raise ConfigurationError(
            "the checkout has no remote named origin",
            place=str(root),
            cure="Add it with `git remote add origin URL`.",
        )
    token = _read(token_file) if token_file is not None else checkout.stored_password(url)
    found = asyncio.run(detect(url, token=token))
    if found is None:
        raise ConfigurationError(
            "origin is not hosted by a forge that GuildNet supports",
            place=str(root),
            cure="Use --push instead; if the branch is protected, switch to another one first.",
        )
    return found


def propose(
    root: Path, paths: Sequence[str], message: str, *, forge: Forge, branch_prefix: str
) -> Proposal:
    """Commit `paths` on a new branch, push it, and open a pull request that shows the plan.

    Raises PushRejected or ForgeError; the branch and its commit are kept.
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
            f"branch {branch} was pushed, but opening a pull request failed: {error.message}",
            place=error.place,
            cure=f"Open it on the forge's web page. {_LOG_IN}",
        ) from error
    return Proposal(commit, branch, opened)


def _plan(root: Path, base: str, commit: str) -> str:
    """What merging it would change, for the reviewer."""
    from guildnet_cli.views.plan import as_markdown
    from guildnet_reconciler.offline import plan_between

    return as_markdown(plan_between(root, base, commit))


def _read(token_file: Path) -> str:
    token = read_secret(token_file.expanduser())
    if not token:
        raise ConfigurationError(
            "the file is empty", place=str(token_file), cure="Write the forge's token into it."
        )
    return token
