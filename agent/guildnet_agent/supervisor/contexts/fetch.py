"""Fetches the contexts of a start into the exchange, all at the same time."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from guildnet.agent_api.state import ContextProgress
from guildnet.backoff import Backoff
from guildnet.errors import ConfigurationError, GitError, GitUnavailable
from guildnet_agent.exchange import (
    CONTEXT_NAME,
    CONTEXTS,
    START_REF,
    write_atomic,
)
from guildnet_agent.job import JobContext
from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.contexts.url import UrlFailed, UrlSpec, read_url
from guildnet_agent.supervisor.git.checkpoint_branch import find_checkpoint
from guildnet_agent.supervisor.git.credentials import (
    CredentialProvider,
    Credentials,
)
from guildnet_agent.supervisor.git.process import GitRunner
from guildnet_agent.supervisor.git.repository import BareRepository, RemoteRefs
from guildnet_agent.supervisor.task import Task
from guildnet_agent.supervisor.work_branch import WorkBranch

log = logging.getLogger(__name__)

_TRIES = 3
_BACKOFF = Backoff(first=timedelta(seconds=1), longest=timedelta(seconds=4), factor=4)
_MAX_CONFIG_MAP_BYTES = 2 * 1024 * 1024

Spec = Mapping[str, Any]


class ContextFailed(Exception):
    """A context cannot be fetched; ``infrastructure``: a later try may succeed."""

    def __init__(self, name: str, message: str, *, infrastructure: bool) -> None:
        super().__init__(f"context {name}: {message}")
        self.name = name
        self.infrastructure = infrastructure


@dataclass(frozen=True)
class ContextSource:
    """What fetching contexts needs from the rest of the supervisor."""

    task: Task
    settings: Settings
    runner: GitRunner
    credentials: CredentialProvider

    def repository(self, name: str) -> BareRepository:
        path = self.settings.exchange_in / CONTEXTS / f"{name}.git"
        return BareRepository(path, self.runner)

    def file(self, name: str) -> Path:
        return self.settings.exchange_in / CONTEXTS / name


Report = Callable[[ContextProgress], None]


async def prepare_contexts(
    specs: list[Spec],
    published: str | None,
    branch: WorkBranch | None,
    source: ContextSource,
    report: Report,
) -> tuple[JobContext, ...]:
    """Fetch every context. ContextFailed for the first that failed, in the task's order.

    An error of one context does not stop the others.
    """

    async def one(spec: Spec) -> JobContext | ContextFailed:
        name = str(spec["name"])
        try:
            own = branch if name == published else None
            context = await _prepare_with_retries(spec, own, source)
        except Exception as error:
            failure = _as_failure(name, error)
            report(ContextProgress(name, "Failed", str(failure)))
            return failure
        report(ContextProgress(name, "Ready"))
        return context

    ready = []
    for outcome in await asyncio.gather(*map(one, specs)):
        if isinstance(outcome, ContextFailed):
            raise outcome
        ready.append(outcome)
    return tuple(ready)


def _as_failure(name: str, error: Exception) -> ContextFailed:
    if isinstance(error, ContextFailed):
        return error
    log.error("context %s: unexpected %s", name, type(error).__name__)
    message = f"unexpected {type(error).__name__}: {error}"
    failure = ContextFailed(name, message, infrastructure=False)
    failure.__cause__ = error
    return failure


async def _prepare_with_retries(
    spec: Spec, branch: WorkBranch | None, source: ContextSource
) -> JobContext:
    """Fetch a context, retrying if the remote did not answer."""
    for failures in range(1, _TRIES):
        try:
            return await _prepare(spec, branch, source)
        except ContextFailed as failure:
            if not failure.infrastructure:
                raise
        await asyncio.sleep(_BACKOFF.pause(failures).total_seconds())
    return await _prepare(spec, branch, source)


async def _prepare(spec: Spec, branch: WorkBranch | None, source: ContextSource) -> JobContext:
    name = str(spec["name"])
    if not CONTEXT_NAME.match(name):
        raise ContextFailed(name, "not a name", infrastructure=False)
    try:
        if "git" in spec:
            return await _prepare_git(name, spec["git"], branch, source)
        if "text" in spec:
            write_atomic(source.file(name), str(spec["text"]).encode())
            return JobContext(name, "text")
        if "url" in spec:
            authorities = source.credentials.authorities_for(spec["url"]["href"])
            await read_url(UrlSpec.parse(spec["url"], authorities), source.file(name))
            return JobContext(name, "url")
        await asyncio.to_thread(_copy_config_map, name, str(spec["configMap"]), source)
        return JobContext(name, "configMap")
    except UrlFailed as error:
        raise ContextFailed(name, str(error), infrastructure=error.infrastructure) from error
    except (GitError, ConfigurationError, OSError) as error:
        unavailable = isinstance(error, GitUnavailable | OSError)
        raise ContextFailed(name, str(error), infrastructure=unavailable) from error


async def _prepare_git(
    name: str, spec: Spec, branch: WorkBranch | None, source: ContextSource
) -> JobContext:
    remote = source.credentials.for_repository(spec["url"], spec.get("secret"))
    repository = source.repository(name)
    await repository.create()
    own = (branch.name, branch.checkpoints) if branch else ()
    wanted = [item for item in (spec.get("ref"), *own) if item]
    refs = await repository.list_remote(remote, wanted)
    local_branch, refspecs = _choose_ref(name, spec.get("ref"), refs)
    if branch and refs.branch(branch.name):
        refspecs.append(f"+refs/heads/{branch.name}:refs/heads/{branch.name}")
    depth = spec.get("depth")
    await repository.fetch(remote, refspecs, depth)
    source_ref = refspecs[0].rpartition(":")[2]
    commit = spec.get("commit") or await repository.resolve(source_ref)
    await _ensure_commit(name, repository, remote, commit, depth)
    checkpoint = None
    if branch:
        commit = await _start_of_work(repository, commit, branch, refs)
        local_branch = branch.name
        found = await find_checkpoint(repository, remote, refs, branch)
        checkpoint, commit = (found.commit, found.base) if found else (None, commit)
    await repository.set_ref(START_REF, commit)
    sparse = tuple(spec.get("sparse", ()))
    return JobContext(name, "git", commit, local_branch, str(spec["url"]), sparse, checkpoint)


def _choose_ref(name: str, ref: str | None, refs: RemoteRefs) -> tuple[str | None, list[str]]:
    """(the branch to check out, None for a tag; the refspecs to fetch)."""
    if ref is None:
        if not refs.head or refs.head.removeprefix("refs/heads/") == refs.head:
            raise ContextFailed(
                name, "the repository has no default branch: is it empty?", infrastructure=False
            )
        return refs.head.removeprefix("refs/heads/"), [f"+{refs.head}:{refs.head}"]
    if refs.branch(ref):
        return ref, [f"+refs/heads/{ref}:refs/heads/{ref}"]
    if refs.tag(ref):
        return None, [f"+refs/tags/{ref}:refs/tags/{ref}"]
    raise ContextFailed(name, f"the repository has no branch or tag {ref!r}", infrastructure=False)


async def _ensure_commit(
    name: str, repository: BareRepository, remote: Credentials, commit: str, depth: int | None
) -> None:
    """Fetch a commit that is not in the history fetched so far."""
    if await repository.has_commit(commit):
        return
    try:
        await repository.fetch(remote, [commit], depth)
    except GitUnavailable:
        raise
    except GitError as error:
        raise ContextFailed(
            name, f"the repository has no commit {commit}", infrastructure=False
        ) from error


async def _start_of_work(
    repository: BareRepository, commit: str, branch: WorkBranch, refs: RemoteRefs
) -> str:
    """The tip of this run's earlier work, or else the context's commit."""
    tip = refs.branch(branch.name)
    if tip is None:
        return commit
    mine = branch.may_continue or await repository.names_run(commit, tip, branch.trailer)
    return tip if mine else commit


def _copy_config_map(name: str, config_map: str, source: ContextSource) -> None:
    folder = source.settings.config_maps_dir / config_map
    target = source.file(f"{name}.d")
    if not folder.is_dir():
        raise ContextFailed(name, f"ConfigMap {config_map} does not exist", infrastructure=False)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    total = 0
    # The kubelet keeps files of its own beside the keys; their names begin with two dots.
    for file in sorted(path for path in folder.iterdir() if not path.name.startswith("..")):
        with open(file, "rb") as opened:
            data = opened.read(_MAX_CONFIG_MAP_BYTES + 1)
        total += len(data)
        if total > _MAX_CONFIG_MAP_BYTES:
            raise ContextFailed(name, f"ConfigMap {config_map} is too large", infrastructure=False)
        write_atomic(target / file.name, data)
