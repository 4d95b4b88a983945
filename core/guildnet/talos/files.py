"""An org's Talos files in a state repository: read from a work tree or at a revision, bounded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from guildnet.errors import GitError, InvalidResource, Problem
from guildnet.loading import MAX_FILE_BYTES
from guildnet.talos.patches import patch_problems
from guildnet.talos.spec import TalosSpec
from guildnet.work_tree import WorkTree

if TYPE_CHECKING:
    from guildnet.git import Mirror

MAX_FOLDER_BYTES = 256 * 1024
"""A folder of patches in git: some hundred entries."""


class RepositoryFiles(Protocol):
    """Reads files of a state repository by their paths from its root."""

    def read(self, path: str) -> bytes | None:
        """The content of a file; None without one.

        Raises InvalidResource for a link or a file larger than 256 KiB, and GitError.
        """
        ...


@dataclass(frozen=True, slots=True)
class WorkTreeFiles:
    """The files of a checkout, committed or not."""

    root: Path

    def read(self, path: str) -> bytes | None:
        try:
            size, content = WorkTree(self.root).read(path, MAX_FILE_BYTES)
        except FileNotFoundError:
            return None
        if content is None:
            raise _too_large(path, size)
        return content


@dataclass(frozen=True, slots=True)
class RevisionFiles:
    """The files of one commit in a mirror. Blocks."""

    mirror: Mirror
    commit: str

    def read(self, path: str) -> bytes | None:
        folder, _, name = path.rpartition("/")
        found = self.mirror.lookup(f"{self.commit}:{folder}")
        if found is None or found.type != "tree":
            return None
        entries = self.mirror.folder(found.id, max_bytes=MAX_FOLDER_BYTES)
        if entries is None:
            raise GitError(f"{folder} has too many entries", place=self.mirror.place)
        entry = next((entry for entry in entries if entry.path == name), None)
        if entry is None:
            return None
        if entry.kind != "file":
            raise InvalidResource([Problem(path, 0, f"a {entry.kind}; links are never followed")])
        _, size, content = next(self.mirror.read_blobs([entry.blob], max_bytes=MAX_FILE_BYTES))
        if content is None:
            raise _too_large(path, size)
        return content


def read_patches(spec: TalosSpec, files: RepositoryFiles) -> dict[str, bytes]:
    """The content of each patch of an org, by path.

    Raises InvalidResource with every problem of every patch file: a missing or invalid one, and
    secrets in it.
    """
    contents: dict[str, bytes] = {}
    problems: list[Problem] = []
    for path in dict.fromkeys(patch.path for patch in spec.patches):
        try:
            content = files.read(path)
        except InvalidResource as error:
            problems += error.problems
            continue
        if content is None:
            problems.append(Problem(path, 0, f"missing: orgs/{spec.org}.yaml lists this patch"))
            continue
        problems += patch_problems(content, path, spec.version)
        contents[path] = content
    if problems:
        raise InvalidResource(sorted(problems))
    return contents


def _too_large(path: str, size: int) -> InvalidResource:
    message = f"{size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
    return InvalidResource([Problem(path, 0, message)])
