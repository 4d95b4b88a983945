"""From a bundle to a branch to a pull request, once: everything done already is found, not redone.

So it can be called again after any interruption, and by the next start of the same run: the
branch's name, the run's trailer and the pull requests of the branch say what is there (I7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guildnet.agent_api.state import Published
from guildnet.errors import GitError, GitUnavailable, PushRejected
from guildnet.forges import Forge, PullRequest, PullRequestDraft, detect
from guildnet.labels import RUN_TRAILER
from guildnet_agent.exchange import WORK_REF
from guildnet_agent.job import JobContext
from guildnet_agent.supervisor.contexts.fetch import ContextSource
from guildnet_agent.supervisor.git.checkpoint_branch import CheckpointBranch
from guildnet_agent.supervisor.git.credentials import Credentials, credentials_for
from guildnet_agent.supervisor.git.push import push_work
from guildnet_agent.supervisor.git.repository import BareRepository
from guildnet_agent.supervisor.task import (
    Spec,
    published_context,
    pull_request_body,
    pull_request_title,
)
from guildnet_agent.supervisor.work_branch import WorkBranch

_MAX_TITLE = 256


@dataclass(frozen=True)
class Publication:
    """What became of the work. ``pull_request`` is the content of ``last_pr.json``."""

    published: Published
    branch: str | None = None
    commit: str | None = None
    pull_request: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Target:
    """Where a run's work goes. ``api`` are the credentials of the pull request."""

    context: str
    remote: Credentials
    api: Credentials
    branch: WorkBranch
    own_branch: str


OnPushed = Callable[[str, str], None]


def read_target(spec: Spec, run: int, source: ContextSource) -> Target | None:
    """Where the work of this run goes, on a branch of its own; None where nothing is published.

    Raises ConfigurationError for a Secret that may not be used.
    """
    context = published_context(spec)
    if context is None:
        return None
    task, settings = source.task, source.settings
    git, wanted = context["git"], spec["pullRequest"]
    remote = credentials_for(git["url"], git.get("secret"), task, settings)
    api = credentials_for(git["url"], wanted.get("secret") or git.get("secret"), task, settings)
    own = task.own_branch(run)
    return Target(context["name"], remote, api, own, own.name)


def checkpoint_branch_of(target: Target, source: ContextSource) -> CheckpointBranch:
    """Where the work in progress of this run goes."""
    repository = source.repository(target.context)
    scratch = source.settings.home / ".guildnet" / "checkpoint.git"
    return CheckpointBranch(repository, target.remote, target.branch, scratch)


async def choose_branch(target: Target, continues: str | None) -> Target:
    """The target on the branch ``continues`` of an earlier run while its pull request is open.

    Raises ForgeUnavailable and ForgeRefused.
    """
    if continues and await _has_open(await _forge(target.api), continues):
        return replace(target, branch=replace(target.branch, name=continues, may_continue=True))
    return target


@dataclass(frozen=True)
class Work:
    """What is to be published: the context as it was given, and the bundle, if any, it became.

    ``base`` is the commit the work goes on from, where that is not the context's. ``notes`` are
    shown beside where it went.
    """

    context: JobContext
    bundle: Path | None
    base: str | None = None
    notes: tuple[str, ...] = ()


async def publish(
    spec: Spec, target: Target, work: Work, source: ContextSource, on_pushed: OnPushed
) -> Publication:
    """Push the work and see to its pull request; ``on_pushed`` gets branch and commit between.

    Raises PushRejected, GitUnavailable, ForgeUnavailable and ForgeRefused; the forge's errors
    come after the branch was pushed, and calling again goes on from there.
    """
    repository = source.repository(target.context)
    commit = await _tip_of_work(repository, work, target.remote, source)
    if commit is None:
        message = _with_notes("the command changed nothing", work)
        return Publication(Published("NothingToPublish", message))
    branch = target.branch.name
    if target.branch.may_continue and not await _has_open(await _forge(target.api), branch):
        branch = target.own_branch
    pushed = await push_work(repository, target.remote, commit, branch, target.own_branch)
    on_pushed(pushed.branch, commit)
    # Asked after the push: a forge whose API is away or refuses does not hold up the work.
    forge = await _forge(target.api)
    if forge is None:
        where = f"branch {pushed.branch}; pull requests cannot be opened: its host is plain git"
        message = _with_notes(where, work, pushed.note)
        return Publication(Published("BranchPushed", message), pushed.branch, commit)
    base = await _base(spec, repository, target.remote)
    draft = _draft(spec, target.branch.trailer, pushed.branch, base.branch)
    found = await _ensure_pull_request(forge, draft, target.branch.trailer)
    where = f"pull request {found.number} of {found.repository}: {found.url}"
    message = _with_notes(where, work, pushed.note, base.note)
    return Publication(
        Published("PullRequestOpened", message), pushed.branch, commit, as_last_pr(found, commit)
    )


async def save(target: Target, work: Work, source: ContextSource) -> Publication:
    """Push the work without a pull request: of a command that was stopped or failed.

    Raises PushRejected and GitUnavailable.
    """
    repository = source.repository(target.context)
    commit = await _tip_of_work(repository, work, target.remote, source)
    if commit is None:
        message = _with_notes("there is no work to save", work)
        return Publication(Published("NothingToPublish", message))
    branch, own = target.branch.name, target.own_branch
    pushed = await push_work(repository, target.remote, commit, branch, own)
    message = _with_notes(f"work saved on branch {pushed.branch}", work, pushed.note)
    return Publication(Published("BranchPushed", message), pushed.branch, commit)


async def rescue(target: Target, work: Work, source: ContextSource) -> str | None:
    """Push refused work to the branch of the run's work in progress; that branch's name.

    None where there is no work. Raises GitError.
    """
    repository = source.repository(target.context)
    commit = await _tip_of_work(repository, work, target.remote, source)
    if commit is None:
        return None
    branch = target.branch.checkpoints
    tip = (await repository.list_remote(target.remote, [branch])).branch(branch)
    if tip != commit:
        await repository.replace_branch(target.remote, commit, branch, tip)
    return branch


def as_last_pr(found: PullRequest, commit: str) -> dict[str, Any]:
    """``last_pr.json``; the head is what was pushed, which a forge may show a moment later."""
    head = commit if found.state == "open" else found.commit
    return {**found.as_artifact(), "title": found.title[:_MAX_TITLE], "commit": head}


async def _tip_of_work(
    repository: BareRepository, work: Work, remote: Credentials, source: ContextSource
) -> str | None:
    """The commit to publish: of the bundle, or of this run's earlier work when it added none.

    PushRejected for a bundle that git refuses or that does not go on from what was cloned.
    """
    context = work.context
    if work.bundle is None:
        is_earlier_work = context.branch is not None and await _is_resumed(repository, context)
        return context.commit if is_earlier_work else None
    base = work.base or context.commit
    assert base is not None
    try:
        if not await repository.has_commit(base):
            await repository.fetch_commit(remote, base)
        limit = source.settings.max_unpacked_bytes
        tip = await repository.take_bundle(work.bundle, WORK_REF, limit)
        await repository.check_links(tip, base)
        descends = await repository.is_ancestor(base, tip)
    except GitUnavailable:
        raise
    except GitError as error:
        raise PushRejected(
            f"the work's bundle is refused: {error.message}", place="work.bundle"
        ) from error
    if not descends:
        raise PushRejected(
            "the work does not go on from the commit that was cloned",
            place=WORK_REF,
            cure="let the command add commits instead of rewriting history",
        )
    return tip


def _with_notes(message: str, work: Work, *notes: str) -> str:
    return "; ".join(filter(None, (message, *notes, *work.notes)))


async def _is_resumed(repository: BareRepository, context: JobContext) -> bool:
    """Whether the start was the tip of the work's own branch, not of the context's ref."""
    try:
        return await repository.resolve(f"refs/heads/{context.branch}") == context.commit
    except GitError:
        return False


async def _forge(api: Credentials) -> Forge | None:
    """The forge; None for plain git, also for a key over ssh without a token for an API."""
    if api.token is None and api.url.startswith("ssh:"):
        return None
    return await detect(api.url, token=api.token, authorities=api.authorities)


async def _has_open(forge: Forge | None, branch: str) -> bool:
    if forge is None:
        return False
    return any(item.state == "open" for item in await forge.find_pull_requests(branch))


@dataclass(frozen=True)
class _Base:
    """The branch to merge into, None for the default branch, and what a person should know."""

    branch: str | None
    note: str = ""


async def _base(spec: Spec, repository: BareRepository, remote: Credentials) -> _Base:
    """As the task says, else the context's ref where that is a branch that is still there."""
    context = published_context(spec) or {}
    base, ref = spec["pullRequest"].get("base"), context.get("git", {}).get("ref")
    if base or ref is None:
        return _Base(str(base) if base else None)
    if not await repository.has_commit(f"refs/heads/{ref}"):
        return _Base(None)
    if (await repository.list_remote(remote, [str(ref)])).branch(str(ref)) is None:
        return _Base(None, f"branch {ref} is gone: the default branch is the base instead")
    return _Base(str(ref))


def _draft(spec: Spec, trailer: str, branch: str, base: str | None) -> PullRequestDraft:
    wanted = spec["pullRequest"]
    return PullRequestDraft(
        branch=branch,
        title=pull_request_title(spec),
        body=pull_request_body(spec, f"{RUN_TRAILER}: {trailer}"),
        base=base,
        draft=bool(wanted.get("draft")),
        labels=tuple(wanted.get("labels", ())),
        reviewers=tuple(wanted.get("reviewers", ())),
    )


async def _ensure_pull_request(forge: Forge, draft: PullRequestDraft, trailer: str) -> PullRequest:
    """The one pull request of this branch: found in any state, else opened."""
    found = pick_pull_request(await forge.find_pull_requests(draft.branch), trailer)
    return found or await forge.create_pull_request(draft)


def pick_pull_request(found: Sequence[PullRequest], trailer: str) -> PullRequest | None:
    """An open one of the branch, else the newest whose body names this run."""
    line = f"{RUN_TRAILER}: {trailer}"
    for item in found:
        if item.state == "open":
            return item
    return next((item for item in found if line in item.body.splitlines()), None)
