"""What a checkout would commit of files that a git filter rewrites (LFS, git-crypt)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from guildnet.loading import MAX_FILE_BYTES

_ATTRIBUTES = ("filter", "working-tree-encoding")


def staged_contents(root: Path, paths: Sequence[str]) -> dict[str, bytes | None]:
    """The staged content of each of the files that a filter rewrites; None where it is not staged.

    Outside of a checkout, and where no filter is set, nothing is asked. Raises GitError.
    """
    folders = {parent for path in paths for parent in PurePosixPath(path).parents}
    named = [".git/info/attributes", *(f"{folder}/.gitattributes" for folder in folders)]
    if not any((root / name).exists() for name in named):
        return {}  # as nearly always
    # `guildnet validate` needs no git otherwise.
    from guildnet.git import Mirror, git_dir_of

    git_dir = git_dir_of(str(root))
    if git_dir is None or not paths:
        return {}
    mirror = Mirror(str(root), git_dir, None)
    try:
        filtered = mirror.filtered(root, paths, _ATTRIBUTES)
        staged = mirror.lookups([f":{path}" for path in filtered])
        found: dict[str, bytes | None] = dict.fromkeys(filtered)
        for path, blob in zip(filtered, staged, strict=True):
            if blob is not None and blob.type == "blob":
                _, size, content = next(mirror.read_blobs([blob.id], max_bytes=MAX_FILE_BYTES))
                found[path] = content if content is not None else bytes(size)
        return found
    finally:
        mirror.close()
