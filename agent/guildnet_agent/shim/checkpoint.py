"""Makes one checkpoint: a bundle of the work as it is, while the command continues undisturbed.

A separate process, ``python3 -m guildnet_agent.shim.checkpoint``, started by ``checkpoint_timer``.
Its index and new objects are in a separate folder, so the command's repository is only read.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from guildnet.labels import BASE_TRAILER, RUN_TRAILER
from guildnet_agent.exchange import CHECKPOINT, CHECKPOINT_REF, JOB, open_new, write_atomic
from guildnet_agent.job import Job, parse_job
from guildnet_agent.settings import Settings, read_settings
from guildnet_agent.shim.command import commit_identity
from guildnet_agent.shim.git import GitFailed, WorkTreeGit
from guildnet_agent.shim.handover import (
    find_base,
    find_tip,
    published_context,
    stage_everything,
)

_NICENESS = 10
_LAST = "last"  # start, base, tip and tree of the previous checkpoint


def make_checkpoint(
    job: Job, settings: Settings, git: WorkTreeGit, identity: Mapping[str, str]
) -> bool:
    """Bundle one commit on top of the command's commits; False if nothing has changed.

    Raises GitFailed and OSError, for example while the command changes the repository.
    """
    context = published_context(job)
    if context is None or context.commit is None:
        return False
    folder = settings.workspace / context.name
    scratch = _scratch(settings)
    tip = find_tip(git, folder, context)
    base = find_base(git, folder, context.commit, tip)
    variables = {**identity, **_own_index(git, folder, scratch)}
    stage_everything(git, folder, variables)
    tree = git.run(folder, "write-tree", variables=variables)
    subject = " ".join((job.id.folder, base, tip, tree))
    if tip == base and tree == git.run(folder, "rev-parse", f"{base}^{{tree}}"):
        return False
    if _read_last(scratch) == subject:
        return False
    # [skip ci]: no pipeline should run for work in progress.
    message = (
        f"Work in progress of {job.trailer} [skip ci]\n\n"
        f"{RUN_TRAILER}: {job.trailer}\n{BASE_TRAILER}: {base}"
    )
    arguments = ("commit-tree", "-p", tip, "-m", message, tree)
    commit = git.run(folder, *arguments, variables=variables)
    out = settings.exchange_out / job.id.folder
    _write_bundle(git, folder, variables, commit, base, out / CHECKPOINT)
    write_atomic(scratch / _LAST, subject.encode())
    return True


def _scratch(settings: Settings) -> Path:
    return settings.home / ".guildnet" / "checkpoint"


def _own_index(git: WorkTreeGit, folder: Path, scratch: Path) -> dict[str, str]:
    """Environment for git: a copy of the index, and a separate folder for new objects."""
    objects = scratch / "objects"
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir(parents=True)
    index = scratch / "index"
    for left in (index, index.with_name("index.lock")):
        left.unlink(missing_ok=True)
    theirs = folder / git.run(folder, "rev-parse", "--git-path", "index")
    if theirs.is_file():
        shutil.copyfile(theirs, index)
    known = folder / git.run(folder, "rev-parse", "--git-path", "objects")
    return {
        "GIT_INDEX_FILE": str(index),
        "GIT_OBJECT_DIRECTORY": str(objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(known.resolve()),
    }


def _write_bundle(  # noqa: PLR0917
    git: WorkTreeGit,
    folder: Path,
    variables: Mapping[str, str],
    commit: str,
    base: str,
    path: Path,
) -> None:
    """Write a bundle without ``git bundle``, which would need a ref in the command's repository."""
    temporary = path.with_name(f".{path.name}.new")
    with open(open_new(temporary), "wb") as file:
        file.write(f"# v2 git bundle\n-{base}\n{commit} {CHECKPOINT_REF}\n\n".encode())
        file.flush()
        git.run(
            folder,
            *("pack-objects", "--quiet", "--revs", "--thin", "--delta-base-offset", "--stdout"),
            variables=variables,
            input_text=f"{commit}\n^{base}\n",
            output=file,
        )
    os.replace(temporary, path)


def _read_last(scratch: Path) -> str | None:
    try:
        return (scratch / _LAST).read_text()
    except OSError:
        return None


def main() -> int:
    """Make one checkpoint of the job in the exchange; errors go to standard error."""
    os.umask(0o022)
    os.nice(_NICENESS)
    settings = read_settings(os.environ)
    job = parse_job((settings.exchange_in / JOB).read_bytes())
    config = _scratch(settings) / "gitconfig"
    git = WorkTreeGit(config, os.environ, settings.git_timeout_seconds)
    defaults = commit_identity(job)
    identity = {name: os.environ.get(name, defaults[name]) for name in defaults}
    try:
        make_checkpoint(job, settings, git, identity)
    except (GitFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
