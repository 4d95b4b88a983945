"""Makes a bundle of the command's work: commits the rest, and marks the work with its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guildnet.labels import RUN_TRAILER
from guildnet_agent.exchange import BUNDLE, WORK_REF
from guildnet_agent.job import Job, JobContext
from guildnet_agent.shim.git import GitFailed, WorkTreeGit
from guildnet_agent.shim.submodules import restore_unpublished
from guildnet_agent.shim.workspace import read_checkout

_MAX_NAMES_SHOWN = 5
_MAX_NAME_CHARACTERS = 40


@dataclass(frozen=True)
class HandedOver:
    """``tip`` of the bundle, None without one; ``base``: the commit that the work builds on, if
    that is not the job's; ``notes``: what was left out, and why."""

    tip: str | None = None
    base: str | None = None
    notes: tuple[str, ...] = ()


def published_context(job: Job) -> JobContext | None:
    """The context whose work is handed over; None if nothing is published."""
    context = next((item for item in job.contexts if item.name == job.publish), None)
    return context if context and context.commit else None


def bundle_work(
    job: Job, workspace: Path, out: Path, git: WorkTreeGit, identity: Mapping[str, str]
) -> HandedOver:
    """Bundle the commits from the work's base to its tip into ``out``.

    The command's commits are not rewritten. If none of them names the run, an empty commit on top
    does. Raises GitFailed.
    """
    context = published_context(job)
    if context is None or context.commit is None:
        return HandedOver()
    folder = workspace / context.name
    git.remove_stale_locks(folder)
    notes = _commit_leftovers(git, folder, context.commit, job.trailer, identity)
    tip = find_tip(git, folder, context)
    if git.is_true(folder, "merge-base", "--is-ancestor", tip, context.commit):
        return HandedOver(notes=notes)
    base = find_base(git, folder, context.commit, tip)
    if not _names_run(git, folder, f"{base}..{tip}", job.trailer):
        tip = _mark(git, folder, tip, job.trailer, identity)
    git.run(folder, "update-ref", WORK_REF, tip)
    temporary = out / f".{BUNDLE}.new"
    git.run(folder, "bundle", "create", "--quiet", str(temporary), WORK_REF, f"^{base}")
    temporary.replace(out / BUNDLE)
    return HandedOver(tip, base if base != context.commit else None, notes)


def stage_everything(
    git: WorkTreeGit, folder: Path, variables: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Add everything that is not ignored to the index. Return notes about what is left out.

    Nested git repositories are left out: git would add only a commit id without its content, and
    an empty nested repository would make ``git add`` fail.
    """
    others = git.run(
        folder, "ls-files", "--others", "--exclude-standard", "-z", variables=variables
    )
    # git lists the files of folders, but a nested repository as a single name with a slash.
    nested = [name.rstrip("/") for name in others.split("\0") if name.endswith("/")]
    pathspecs = [".", *(f":(exclude,literal){name}" for name in nested)]
    notes = (_left_out(nested),) if nested else ()
    # --sparse: also files that the command wrote outside the sparse checkout.
    arguments = ("add", "--all", "--sparse", "--pathspec-from-file=-", "--pathspec-file-nul")
    paths = "\0".join(pathspecs)
    try:
        git.run(folder, *arguments, variables=variables, input_text=paths)
    except GitFailed as error:
        # A file that git cannot read must not keep out the others.
        if git.is_true(
            folder, *arguments, "--ignore-errors", variables=variables, input_text=paths
        ):
            return notes
        return (*notes, f"left out, as git cannot add it: {error}")
    return notes


def find_tip(git: WorkTreeGit, folder: Path, context: JobContext) -> str:
    """HEAD, or the context's branch if HEAD has not moved."""
    tip = git.run(folder, "rev-parse", "--verify", "HEAD^{commit}")
    branch = f"refs/heads/{context.branch}^{{commit}}"
    if tip == context.commit and git.is_true(folder, "rev-parse", "--verify", "--quiet", branch):
        return git.run(folder, "rev-parse", "--verify", branch)
    return tip


def find_base(git: WorkTreeGit, folder: Path, start: str, tip: str) -> str:
    """The commit that the work builds on: ``start``, or the commit of an earlier checkout.

    The context's ref may have moved after a kept workspace was checked out.
    """
    if git.is_true(folder, "merge-base", "--is-ancestor", start, tip):
        return start
    checkout = read_checkout(folder)
    return checkout.commit if checkout and checkout.commit else start


def _commit_leftovers(
    git: WorkTreeGit, folder: Path, start: str, trailer: str, identity: Mapping[str, str]
) -> tuple[str, ...]:
    notes = stage_everything(git, folder)
    submodules = restore_unpublished(git, folder, start)
    if submodules:
        reason = "left out, as submodule commits that are on no remote"
        notes += (f"{reason}: {_shown(submodules)}",)
    if git.is_true(folder, "diff", "--cached", "--quiet", "HEAD", "--"):
        return notes
    message = "\n\n".join((f"Work of {trailer}", *notes, f"{RUN_TRAILER}: {trailer}"))
    git.run(folder, "commit", "--quiet", "--no-verify", "-m", message, variables=identity)
    return notes


def _left_out(nested: Sequence[str]) -> str:
    return f"left out, as nested git repositories: {_shown(nested)}"


def _shown(names: Sequence[str]) -> str:
    shown = [
        name.encode(errors="replace").decode()[:_MAX_NAME_CHARACTERS]
        for name in names[:_MAX_NAMES_SHOWN]
    ]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more


def _names_run(git: WorkTreeGit, folder: Path, commits: str, trailer: str) -> bool:
    layout = f"--format=%(trailers:key={RUN_TRAILER},valueonly)"
    return trailer in git.run(folder, "log", layout, commits).splitlines()


def _mark(
    git: WorkTreeGit, folder: Path, tip: str, trailer: str, identity: Mapping[str, str]
) -> str:
    """Add an empty commit on ``tip`` that names the run; return its id."""
    message = f"End of {trailer}\n\n{RUN_TRAILER}: {trailer}"
    arguments = ("commit-tree", "-p", tip, "-m", message, f"{tip}^{{tree}}")
    return git.run(folder, *arguments, variables=identity)
