"""Contexts into the workspace, each at ``/workspace/<its name>``; kept trees are gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

from guildnet.labels import RUN_TRAILER
from guildnet_agent.exchange import CONTEXT_NAME, CONTEXTS, START_REF, write_atomic
from guildnet_agent.job import Job, JobContext
from guildnet_agent.settings import Settings
from guildnet_agent.shim.output import OutputLog
from guildnet_agent.shim.repository import GitFailed, WorkTreeGit

_RUN_MARK = "guildnet-run"


class WorkspaceFailed(Exception):
    """A context cannot be put into the workspace; says which and why."""


def prepare(job: Job, settings: Settings, git: WorkTreeGit, log: OutputLog) -> Path:
    """Put every context of the job in its place; the folder in which the command runs."""
    for context in job.contexts:
        if not CONTEXT_NAME.match(context.name):
            raise WorkspaceFailed(f"context {context.name!r}: not a name")
        try:
            _place(job, context, settings, git, log)
        except (GitFailed, OSError) as error:
            raise WorkspaceFailed(f"context {context.name}: {error}") from error
    return command_folder(job, settings.workspace)


def command_folder(job: Job, workspace: Path) -> Path:
    """The pull request's context, else the first git context, else the workspace itself."""
    repositories = [context.name for context in job.contexts if context.kind == "git"]
    if job.publish in repositories:
        return workspace / job.publish
    return workspace / repositories[0] if repositories else workspace


def _place(
    job: Job, context: JobContext, settings: Settings, git: WorkTreeGit, log: OutputLog
) -> None:
    target = settings.workspace / context.name
    contexts = settings.exchange_in / CONTEXTS
    if context.kind == "git":
        _place_repository(job, context, contexts / f"{context.name}.git", target, git, log)
    elif context.kind == "configMap":
        for file in sorted((contexts / f"{context.name}.d").iterdir()):
            write_atomic(target / file.name, file.read_bytes())
    else:
        write_atomic(target, (contexts / context.name).read_bytes())


def _place_repository(  # noqa: PLR0917
    job: Job, context: JobContext, source: Path, target: Path, git: WorkTreeGit, log: OutputLog
) -> None:
    if target.exists() or target.is_symlink():
        try:
            git.forget_locks(target)
            _fetch(source, target, git)
            if _run_of(target) != job.trailer:
                _check_out(job, context, target, git)
            return
        except (GitFailed, OSError) as error:
            # Nothing of what the command left is thrown away because git cannot go on with it.
            aside = target.with_name(f"{target.name}.kept-{job.id.folder}")
            log.note(f"context {context.name} cannot be gone on with ({error}); moved to {aside}")
            target.rename(aside)
    git.run(source, "init", "--quiet", str(target))
    try:
        git.run(target, "remote", "add", "origin", context.url or str(source))
        _fetch(source, target, git)
        _check_out(job, context, target, git)
    except GitFailed:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _fetch(source: Path, target: Path, git: WorkTreeGit) -> None:
    if not (target / ".git").exists():
        raise GitFailed("it is no git work tree")
    git.run(
        target,
        *("fetch", "--quiet", "--update-shallow", "--no-tags", str(source)),
        "+refs/heads/*:refs/remotes/origin/*",
        "+refs/tags/*:refs/tags/*",
        f"+{START_REF}:{START_REF}",
    )


def _check_out(job: Job, context: JobContext, target: Path, git: WorkTreeGit) -> None:
    """A clean tree at the context's commit, for a run that begins."""
    assert context.commit is not None
    if context.sparse:
        git.run(target, "sparse-checkout", "set", "--no-cone", "--", *context.sparse)
    place = ["-B", context.branch] if context.branch else ["--detach"]
    git.run(target, "checkout", "--quiet", "--force", *place, context.commit)
    git.run(target, "clean", "--quiet", "-ffd")
    if context.name == job.publish:
        _install_trailer_hook(target / ".git" / "hooks" / "prepare-commit-msg", job.trailer)
    write_atomic(target / ".git" / _RUN_MARK, job.trailer.encode())


def _run_of(target: Path) -> str | None:
    """The run for which a kept tree was checked out."""
    try:
        return (target / ".git" / _RUN_MARK).read_text()
    except OSError:
        return None


def _install_trailer_hook(path: Path, trailer: str) -> None:
    """Each commit of the command names its run; a commit that goes without is not rewritten."""
    script = (
        "#!/bin/sh\n"
        "exec git interpret-trailers --in-place --if-exists addIfDifferent "
        f"--trailer '{RUN_TRAILER}: {trailer}' \"$1\"\n"
    )
    write_atomic(path, script.encode())
    path.chmod(0o755)
