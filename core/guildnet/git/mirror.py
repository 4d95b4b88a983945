"""A bare mirror of one repository: fetch, index, diff, blobs, history. Never a work tree.

Methods that speak to the remote raise GitUnavailable (no answer, not in time, not let in) or
RefNotFound (it answered and has no such ref); all others raise GitError alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from guildnet.git.credentials import Credentials

FileKind = Literal["file", "symlink", "submodule"]


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a tree: `path` from the root, `mode` as git writes it, `blob` its object id."""

    path: str
    mode: str
    blob: str

    @property
    def kind(self) -> FileKind:
        """What the entry is; only a `file` may be read as a resource."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two commits; `mode` and `blob` are the new ones, "" for D."""

    path: str
    status: Literal["A", "M", "D"]
    mode: str
    blob: str

    @property
    def kind(self) -> FileKind:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit. `author` is `Name <mail>`, `when` the author's time in UTC, `trailers` in order."""

    sha: str
    parents: tuple[str, ...]
    author: str
    when: datetime
    subject: str
    body: str
    trailers: tuple[tuple[str, str], ...]

    def trailer_values(self, key: str) -> tuple[str, ...]:
        """The values of every trailer named `key` (any case)."""
        raise NotImplementedError


class Mirror:
    """One repository, mirrored in one folder. Safe to use from several threads at once; one
    process owns the folder."""

    def __init__(self, url: str, path: Path, credentials: Credentials | None) -> None:
        self.url = url
        self.path = path

    @classmethod
    def open(cls, url: str, path: Path, *, credentials: Credentials | None = None) -> Mirror:
        """The mirror in folder `path`, made there when there is none; asks nothing of the remote.

        Raises ConfigurationError for a URL that is not taken or when git is missing, GitError
        for a folder that cannot be written or mirrors another repository.
        """
        raise NotImplementedError

    def __enter__(self) -> Mirror:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that are kept; the mirror can be used again afterwards."""
        raise NotImplementedError

    @property
    def place(self) -> str:
        """The remote as people may see it: its URL without credentials."""
        raise NotImplementedError

    # --- the remote -------------------------------------------------------------------------

    def ls_remote(self, patterns: Sequence[str]) -> dict[str, str]:
        """Full ref name -> id for refs that match `patterns` (full names, `*` allowed).

        An empty answer means that the remote has none; no answer is GitUnavailable.
        """
        raise NotImplementedError

    def fetch(self, branches: Sequence[str]) -> dict[str, str]:
        """Bring the mirror's copy of each branch to what the remote has; branch -> commit id.

        A name is a branch (`main`), a full ref (`refs/tags/v1`) or a commit id. Copies are moved
        by force: rewritten history is for the caller to judge. Raises RefNotFound, naming what
        is missing, after the others were fetched; copies of what is missing stay as they were.
        """
        raise NotImplementedError

    # --- what is here -----------------------------------------------------------------------

    def resolve(self, ref: str) -> str | None:
        """The commit id of a fetched branch (`main`), a full ref or an id; None when not here."""
        raise NotImplementedError

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Whether `commit` is `ancestor` or descends from it; False when either is not here."""
        raise NotImplementedError

    def entries(self, commit: str, prefixes: Sequence[str] = ()) -> list[TreeEntry]:
        """Every entry under the given folders (all when none are given), of any kind.

        Bytes that are not UTF-8 in a path come out as `\\xNN`.
        """
        raise NotImplementedError

    def index(self, commit: str, prefixes: Sequence[str] = ()) -> dict[str, str]:
        """path -> blob id of the regular files under the given folders."""
        raise NotImplementedError

    def diff(self, old: str, new: str, prefixes: Sequence[str] = ()) -> list[Change]:
        """What differs from `old` to `new`; renames are a D and an A. Cost follows the change."""
        raise NotImplementedError

    def tree_id(self, commit: str, path: str) -> str | None:
        """The object id of a folder or file at `path`; None when there is none. "" is the root."""
        raise NotImplementedError

    def read_blobs(
        self, ids: Iterable[str], *, max_bytes: int
    ) -> Iterator[tuple[str, int, bytes | None]]:
        """(id, size, content) in the order asked, content None where larger than `max_bytes`.

        Raises GitError for an id that is not a blob here.
        """
        raise NotImplementedError

    def show(self, commit: str, path: str, *, max_bytes: int) -> bytes | None:
        """The file at `path`, None when there is none (or it is no regular file).

        Raises GitError when it is larger than `max_bytes`.
        """
        raise NotImplementedError

    def commit_info(self, commit: str) -> CommitInfo:
        """The commit itself; GitError when it is not here."""
        raise NotImplementedError

    def log(
        self, ref: str, paths: Sequence[str] = (), *, limit: int, since: str | None = None
    ) -> list[CommitInfo]:
        """At most `limit` commits reachable from `ref`, newest first, that touch any of `paths`;
        with `since`, only those not reachable from it."""
        raise NotImplementedError

    def verify_commit(self, commit: str, allowed_signers: Path) -> str | None:
        """Who signed the commit by SSH, as named in `allowed_signers`; None when nobody there."""
        raise NotImplementedError

    def maintain(self) -> None:
        """Pack loose objects when there are many; call it now and then, outside of a pass."""
        raise NotImplementedError
