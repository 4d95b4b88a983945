"""Finds submodules that the command moved to commits that exist only in the workspace.

Commits made inside a submodule are not pushed, so a pull request that refers to them could not be
cloned with its submodules.
"""

from __future__ import annotations

from pathlib import Path

from guildnet_agent.shim.git import WorkTreeGit

_SUBMODULE = "160000"
_MAX_LOOKED_AT = 1000


def restore_unpublished(git: WorkTreeGit, folder: Path, base: str) -> list[str]:
    """Reset submodules in the index to their commit in ``base`` if their new commit is on no
    remote. Return their paths. Raises GitFailed."""
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
    """(path, old mode, old commit, new commit) of each submodule that the index changes."""
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
    """Whether the commit exists locally, but on no branch that was fetched from a remote.

    A submodule that is not checked out counts as published: the command cannot have committed in
    it.
    """
    if not (submodule / ".git").exists():
        return False
    if not git.is_true(submodule, "cat-file", "-e", f"{commit}^{{commit}}"):
        return False
    return not git.run(
        submodule, "for-each-ref", "--count=1", f"--contains={commit}", "refs/remotes"
    )
