"""Submodules that the command moved to commits which nobody else has.

The command can commit inside a submodule's folder, but those commits are handed over to nobody: a
pull request that names them could not be cloned with its submodules.
"""

from __future__ import annotations

from pathlib import Path

from guildnet_agent.shim.git import WorkTreeGit

_SUBMODULE = "160000"
_MAX_LOOKED_AT = 1000


def restore_unpublished(git: WorkTreeGit, folder: Path, base: str) -> list[str]:
    """Put submodules in the index back to what ``base`` has, where their commit is on no remote;
    their paths. Raises GitFailed."""
    restored = []
    for path, old_mode, old, new in _moved(git, folder, base)[:_MAX_LOOKED_AT]:
        if not _is_unpublished(git, folder / path, new):
            continue
        if old_mode == _SUBMODULE:
            git.run(folder, "update-index", "--cacheinfo", f"{_SUBMODULE},{old},{path}")
        else:
            git.run(folder, "update-index", "--force-remove", "--", path)
        restored.append(path)
    return restored


def _moved(git: WorkTreeGit, folder: Path, base: str) -> list[tuple[str, str, str, str]]:
    """(path, mode before, commit before, commit now) of submodules that the index changes."""
    raw = git.run(
        folder, "diff-index", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", base
    )
    fields = raw.split("\0")
    found = []
    for about, path in zip(fields[::2], fields[1::2], strict=False):
        old_mode, new_mode, old, new, _ = about.removeprefix(":").split(" ")
        if new_mode == _SUBMODULE:
            found.append((path, old_mode, old, new))
    return found


def _is_unpublished(git: WorkTreeGit, submodule: Path, commit: str) -> bool:
    """Whether the commit is here and on no branch or tag that came from a remote.

    Of a submodule that is not checked out nothing is known; its commit came with a commit of the
    repository's own history.
    """
    if not (submodule / ".git").exists():
        return False
    if not git.is_true(submodule, "cat-file", "-e", f"{commit}^{{commit}}"):
        return False
    return not git.run(
        submodule, "for-each-ref", "--count=1", f"--contains={commit}", "refs/remotes"
    )
