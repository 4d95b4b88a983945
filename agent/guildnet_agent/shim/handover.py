"""The command's work as a bundle: leftovers committed, every run's work marked with its run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from guildnet.labels import RUN_TRAILER
from guildnet_agent.exchange import BUNDLE, WORK_REF
from guildnet_agent.job import Job, JobContext
from guildnet_agent.shim.repository import WorkTreeGit


def bundle_work(
    job: Job, workspace: Path, out: Path, git: WorkTreeGit, identity: Mapping[str, str]
) -> str | None:
    """Bundle what lies between the context's commit and the work's tip into ``out``.

    The tip's id, or None when there is nothing to hand over. The command's own commits stay as
    they are: where none of them names the run, an empty commit on top does. Raises GitFailed.
    """
    context = next((item for item in job.contexts if item.name == job.publish), None)
    if context is None or context.commit is None:
        return None
    folder = workspace / context.name
    git.forget_locks(folder)
    _commit_leftovers(git, folder, job.trailer, identity)
    tip = _find_tip(git, folder, context)
    if git.is_true(folder, "merge-base", "--is-ancestor", tip, context.commit):
        return None
    if not _names_run(git, folder, f"{context.commit}..{tip}", job.trailer):
        tip = _mark(git, folder, tip, job.trailer, identity)
    git.run(folder, "update-ref", WORK_REF, tip)
    temporary = out / f".{BUNDLE}.new"
    git.run(folder, "bundle", "create", "--quiet", str(temporary), WORK_REF, f"^{context.commit}")
    temporary.replace(out / BUNDLE)
    return tip


def _commit_leftovers(
    git: WorkTreeGit, folder: Path, trailer: str, identity: Mapping[str, str]
) -> None:
    git.run(folder, "add", "--all")
    if git.is_true(folder, "diff", "--cached", "--quiet", "HEAD", "--"):
        return
    message = f"Work of {trailer}\n\n{RUN_TRAILER}: {trailer}"
    git.run(folder, "commit", "--quiet", "--no-verify", "-m", message, identity=identity)


def _find_tip(git: WorkTreeGit, folder: Path, context: JobContext) -> str:
    """HEAD; the context's branch where HEAD was left where it began."""
    tip = git.run(folder, "rev-parse", "--verify", "HEAD^{commit}")
    branch = f"refs/heads/{context.branch}^{{commit}}"
    if tip == context.commit and git.is_true(folder, "rev-parse", "--verify", "--quiet", branch):
        return git.run(folder, "rev-parse", "--verify", branch)
    return tip


def _names_run(git: WorkTreeGit, folder: Path, commits: str, trailer: str) -> bool:
    layout = f"--format=%(trailers:key={RUN_TRAILER},valueonly)"
    return trailer in git.run(folder, "log", layout, commits).splitlines()


def _mark(
    git: WorkTreeGit, folder: Path, tip: str, trailer: str, identity: Mapping[str, str]
) -> str:
    """An empty commit on ``tip`` that names the run."""
    message = f"End of {trailer}\n\n{RUN_TRAILER}: {trailer}"
    arguments = ("commit-tree", "-p", tip, "-m", message, f"{tip}^{{tree}}")
    return git.run(folder, *arguments, identity=identity)
