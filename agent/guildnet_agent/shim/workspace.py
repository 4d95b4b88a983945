"""Puts contexts into the workspace, each at ``/workspace/<name>``; keeps existing work trees."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from guildnet.labels import RUN_TRAILER
from guildnet_agent.exchange import (
    CHECKPOINT_REF,
    CONTEXT_NAME,
    CONTEXTS,
    START_REF,
    ExchangeRefused,
    read_regular,
    write_atomic,
)
from guildnet_agent.job import Job, JobContext
from guildnet_agent.settings import Settings
from guildnet_agent.shim.git import GitFailed, WorkTreeGit
from guildnet_agent.shim.log import OutputLog

_RUN_MARK = "guildnet-run"
_MAX_MARK_BYTES = 1024
_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\Z")


class WorkspaceFailed(Exception):
    """A context cannot be put into the workspace; the message says which one and why."""


@dataclass(frozen=True)
class Checkout:
    """The run that a work tree was checked out for, and the commit, if known."""

    trailer: str
    commit: str | None


def prepare(job: Job, settings: Settings, git: WorkTreeGit, log: OutputLog) -> Path:
    """Put every context of the job into the workspace. Return the folder for the command."""
    for context in job.contexts:
        if not CONTEXT_NAME.match(context.name):
            raise WorkspaceFailed(f"context {context.name!r}: the name is invalid")
        try:
            _put_context(job, context, settings, git, log)
        except (GitFailed, OSError) as error:
            raise WorkspaceFailed(f"context {context.name}: {error}") from error
    return command_folder(job, settings.workspace)


def command_folder(job: Job, workspace: Path) -> Path:
    """The pull request's context, else the first git context, else the workspace itself."""
    repositories = [context.name for context in job.contexts if context.kind == "git"]
    if job.publish in repositories:
        return workspace / job.publish
    return workspace / repositories[0] if repositories else workspace


def _put_context(
    job: Job, context: JobContext, settings: Settings, git: WorkTreeGit, log: OutputLog
) -> None:
    target = settings.workspace / context.name
    contexts = settings.exchange_in / CONTEXTS
    if context.kind == "git":
        _put_repository(job, context, contexts / f"{context.name}.git", target, git, log)
    elif context.kind == "configMap":
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            _move_aside(target, job, log, "its place was taken by something other than a folder")
        for file in sorted((contexts / f"{context.name}.d").iterdir()):
            write_atomic(target / file.name, file.read_bytes())
    else:
        if target.is_symlink() or (target.exists() and not target.is_file()):
            _move_aside(target, job, log, "its place was taken by something other than a file")
        write_atomic(target, (contexts / context.name).read_bytes())


def _move_aside(target: Path, job: Job, log: OutputLog, why: str) -> None:
    """Rename what is in the way of a context: nothing that the command left is deleted."""
    aside = target.with_name(f"{target.name}.kept-{job.id.folder}")
    log.note(f"context {target.name}: {why}, which is now {aside}")
    target.rename(aside)


def _put_repository(  # noqa: PLR0917
    job: Job, context: JobContext, source: Path, target: Path, git: WorkTreeGit, log: OutputLog
) -> None:
    if target.exists() or target.is_symlink():
        try:
            git.remove_stale_locks(target)
            _fetch(source, target, context, git)
            known = read_checkout(target)
            if known is None or known.trailer != job.trailer:
                _check_out(job, context, target, git)
            return
        except (GitFailed, OSError) as error:
            _move_aside(target, job, log, f"the work tree in its place cannot be used ({error})")
    git.run(source, "init", "--quiet", str(target))
    try:
        git.run(target, "remote", "add", "origin", context.url or str(source))
        _fetch(source, target, context, git)
        _check_out(job, context, target, git)
    except GitFailed:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _fetch(source: Path, target: Path, context: JobContext, git: WorkTreeGit) -> None:
    if not (target / ".git").exists():
        raise GitFailed("it is not a git work tree")
    checkpoint = [f"+{CHECKPOINT_REF}:{CHECKPOINT_REF}"] if context.checkpoint else []
    git.run(
        target,
        *("fetch", "--quiet", "--update-shallow", "--no-tags", str(source)),
        "+refs/heads/*:refs/remotes/origin/*",
        "+refs/tags/*:refs/tags/*",
        f"+{START_REF}:{START_REF}",
        *checkpoint,
    )


def _check_out(job: Job, context: JobContext, target: Path, git: WorkTreeGit) -> None:
    """Check out a clean tree at the context's commit, or the work tree of its checkpoint."""
    assert context.commit is not None
    if context.sparse:
        git.run(target, "sparse-checkout", "set", "--no-cone", "--", *context.sparse)
    branch = ["-B", context.branch] if context.branch else ["--detach"]
    start = context.checkpoint or context.commit
    git.run(target, "checkout", "--quiet", "--force", *branch, start)
    git.run(target, "clean", "--quiet", "-ffd")
    if context.checkpoint:
        # A checkpoint is one commit on top of the command's: make its changes uncommitted again.
        git.run(target, "reset", "--quiet", "--mixed", f"{context.checkpoint}^")
    if context.name == job.publish:
        _install_trailer_hook(target / ".git" / "hooks" / "prepare-commit-msg", job.trailer)
    write_atomic(target / ".git" / _RUN_MARK, f"{job.trailer}\n{context.commit}\n".encode())


def read_checkout(target: Path) -> Checkout | None:
    """The run and commit of an existing work tree; None if unknown."""
    try:
        data = read_regular(target / ".git", _RUN_MARK, _MAX_MARK_BYTES)
    except (ExchangeRefused, OSError):
        return None
    trailer, _, rest = (data or b"").decode(errors="replace").partition("\n")
    commit = rest.strip()
    return Checkout(trailer, commit if _COMMIT.match(commit) else None) if trailer else None


def _install_trailer_hook(path: Path, trailer: str) -> None:
    """Add the run's trailer to each commit of the command; commits without it stay as they are."""
    script = (
        "#!/bin/sh\n"
        "exec git interpret-trailers --in-place --if-exists addIfDifferent "
        f"--trailer '{RUN_TRAILER}: {trailer}' \"$1\"\n"
    )
    write_atomic(path, script.encode())
    path.chmod(0o755)
