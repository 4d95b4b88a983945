"""The command's work as a bundle: leftovers committed, every run's work marked with its run."""

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
    """``tip`` of the bundle, None without one; ``base``: what it goes on from, where that is not
    the job's commit; ``notes``: what is not in it, and why."""

    tip: str | None = None
    base: str | None = None
    notes: tuple[str, ...] = ()


def published_context(job: Job) -> JobContext | None:
    """The context whose work is handed over, with the commit it starts from."""
    context = next((item for item in job.contexts if item.name == job.publish), None)
    return context if context and context.commit else None


def bundle_work(
    job: Job, workspace: Path, out: Path, git: WorkTreeGit, identity: Mapping[str, str]
) -> HandedOver:
    """Bundle what lies between the work's base and its tip into ``out``.

    The command's own commits stay as they are: where none of them names the run, an empty commit
    on top does. Raises GitFailed.
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
    """Put everything that is not ignored into the index; notes of what is left out.

    A repository of the command's own inside the tree would become a commit id without content,
    or, being empty, would keep git from taking anything at all.
    """
    others = git.run(
        folder, "ls-files", "--others", "--exclude-standard", "-z", variables=variables
    )
    # git goes into every folder but those of other repositories.
    nested = [name.rstrip("/") for name in others.split("\0") if name.endswith("/")]
    pathspecs = [".", *(f":(exclude,literal){name}" for name in nested)]
    notes = (_left_out(nested),) if nested else ()
    # A sparse checkout takes in what the command made beside it as well.
    arguments = ("add", "--all", "--sparse", "--pathspec-from-file=-", "--pathspec-file-nul")
    words = "\0".join(pathspecs)
    try:
        git.run(folder, *arguments, variables=variables, words=words)
    except GitFailed as error:
        # One file that git cannot read does not keep the others back.
        if git.is_true(folder, *arguments, "--ignore-errors", variables=variables, words=words):
            return notes
        return (*notes, f"left out, as git cannot take it: {error}")
    return notes


def find_tip(git: WorkTreeGit, folder: Path, context: JobContext) -> str:
    """HEAD; the context's branch where HEAD was left where it began."""
    tip = git.run(folder, "rev-parse", "--verify", "HEAD^{commit}")
    branch = f"refs/heads/{context.branch}^{{commit}}"
    if tip == context.commit and git.is_true(folder, "rev-parse", "--verify", "--quiet", branch):
        return git.run(folder, "rev-parse", "--verify", branch)
    return tip


def find_base(git: WorkTreeGit, folder: Path, start: str, tip: str) -> str:
    """The commit the work goes on from: ``start``, or where a kept tree was once checked out.

    The context's ref may have moved since; what was made on its earlier commit is as good.
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
        said = "left out, as submodule commits that are on no remote"
        notes += (f"{said}: {_shown(submodules)}",)
    if git.is_true(folder, "diff", "--cached", "--quiet", "HEAD", "--"):
        return notes
    message = "\n\n".join((f"Work of {trailer}", *notes, f"{RUN_TRAILER}: {trailer}"))
    git.run(folder, "commit", "--quiet", "--no-verify", "-m", message, variables=identity)
    return notes


def _left_out(nested: Sequence[str]) -> str:
    return f"left out, as git repositories of their own: {_shown(nested)}"


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
    """An empty commit on ``tip`` that names the run."""
    message = f"End of {trailer}\n\n{RUN_TRAILER}: {trailer}"
    arguments = ("commit-tree", "-p", tip, "-m", message, f"{tip}^{{tree}}")
    return git.run(folder, *arguments, variables=identity)
