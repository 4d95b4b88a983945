"""Turns a bundle into a branch, and the branch into a pull request, exactly once (I7).

Every function can be called again after an interruption, also by a later start of the same run: it
finds what exists by the branch's name, the run's trailer and the branch's pull requests.
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
from guildnet_agent.supervisor.git.credentials import Credentials
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
    """The result of publishing. ``pull_request`` is the content of ``last_pr.json``."""

    published: Published
    branch: str | None = None
    commit: str | None = None
    pull_request: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Target:
    """Where a run's work is pushed. ``api`` holds the credentials for the pull request."""

    context: str
    remote: Credentials
    api: Credentials
    branch: WorkBranch
    own_branch: str


OnPushed = Callable[[str, str], None]


def read_target(spec: Spec, run: int, source: ContextSource) -> Target | None:
    """The target of this run, on the run's own branch; None if nothing is published.

    Raises ConfigurationError if a Secret is missing or not allowed for the host.
    """
    context = published_context(spec)
    if context is None:
        return None
    git, wanted = context["git"], spec["pullRequest"]
    remote = source.credentials.for_repository(git["url"], git.get("secret"))
    api = source.credentials.for_repository(git["url"], wanted.get("secret") or git.get("secret"))
    own = source.task.own_branch(run)
    return Target(context["name"], remote, api, own, own.name)


def checkpoint_branch_of(target: Target, source: ContextSource) -> CheckpointBranch:
    """The branch for the work in progress of this run."""
    repository = source.repository(target.context)
    scratch = source.settings.home / ".guildnet" / "checkpoint.git"
    return CheckpointBranch(repository, target.remote, target.branch, scratch)


async def choose_branch(target: Target, continues: str | None) -> Target:
    """Use the branch ``continues`` of an earlier run instead, if its pull request is open.

    Raises ForgeUnavailable and ForgeRefused.
    """
    if continues and await _has_open(await _forge(target.api), continues):
        return replace(target, branch=replace(target.branch, name=continues, may_continue=True))
    return target


@dataclass(frozen=True)
class Work:
    """Work to publish: its context, and the bundle of its commits, if any.

    ``base`` is the commit that the work builds on, if that is not the context's. ``notes`` are
    added to the message about the publication.
    """

    context: JobContext
    bundle: Path | None
    base: str | None = None
    notes: tuple[str, ...] = ()


async def publish(
    spec: Spec, target: Target, work: Work, source: ContextSource, on_pushed: OnPushed
) -> Publication:
    """Push the work, call ``on_pushed`` with branch and commit, and ensure a pull request.

    Raises PushRejected, GitUnavailable, ForgeUnavailable and ForgeRefused. After an error of the
    forge the branch is pushed already, and the next call continues from there.
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
    # After the push: a forge whose API is unavailable must not keep the work from being pushed.
    forge = await _forge(target.api)
    if forge is None:
        where = f"branch {pushed.branch}; its host is a plain git server without pull requests"
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
    """Push the work of a stopped or failed command, without a pull request.

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
    """Push refused work to the branch for work in progress. Return that branch's name.

    None if there is no work. Raises GitError.
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
    """The content of ``last_pr.json``. The head is the pushed commit: a forge may show it late."""
    head = commit if found.state == "open" else found.commit
    return {**found.as_artifact(), "title": found.title[:_MAX_TITLE], "commit": head}


async def _tip_of_work(
    repository: BareRepository, work: Work, remote: Credentials, source: ContextSource
) -> str | None:
    """The commit to publish: the bundle's, or that of the run's earlier work if there is no bundle.

    PushRejected for a bundle that git refuses or that does not build on the cloned commit.
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
            "the work does not build on the commit that was cloned",
            place=WORK_REF,
            cure="let the command add commits instead of rewriting history",
        )
    return tip


def _with_notes(message: str, work: Work, *notes: str) -> str:
    return "; ".join(filter(None, (message, *notes, *work.notes)))


async def _is_resumed(repository: BareRepository, context: JobContext) -> bool:
    """Whether this start began at the tip of the work's branch, not of the context's ref."""
    try:
        return await repository.resolve(f"refs/heads/{context.branch}") == context.commit
    except GitError:
        return False


async def _forge(api: Credentials) -> Forge | None:
    """The forge; None for plain git, and for ssh without a token for the forge's API."""
    if api.token is None and api.url.startswith("ssh:"):
        return None
    return await detect(api.url, token=api.token, authorities=api.authorities)


async def _has_open(forge: Forge | None, branch: str) -> bool:
    if forge is None:
        return False
    return any(item.state == "open" for item in await forge.find_pull_requests(branch))


@dataclass(frozen=True)
class _Base:
    """The branch to merge into, None for the default branch, and a note for people."""

    branch: str | None
    note: str = ""


async def _base(spec: Spec, repository: BareRepository, remote: Credentials) -> _Base:
    """The task's base, or else the context's ref if that is a branch that still exists."""
    context = published_context(spec) or {}
    base, ref = spec["pullRequest"].get("base"), context.get("git", {}).get("ref")
    if base or ref is None:
        return _Base(str(base) if base else None)
    if not await repository.has_commit(f"refs/heads/{ref}"):
        return _Base(None)
    if (await repository.list_remote(remote, [str(ref)])).branch(str(ref)) is None:
        return _Base(None, f"branch {ref} was deleted, so the base is the default branch")
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
    """Find the pull request of this branch in any state, or open one."""
    found = pick_pull_request(await forge.find_pull_requests(draft.branch), trailer)
    return found or await forge.create_pull_request(draft)


def pick_pull_request(found: Sequence[PullRequest], trailer: str) -> PullRequest | None:
    """The branch's open pull request, or else the newest whose body names this run."""
    line = f"{RUN_TRAILER}: {trailer}"
    for item in found:
        if item.state == "open":
            return item
    return next((item for item in found if line in item.body.splitlines()), None)
