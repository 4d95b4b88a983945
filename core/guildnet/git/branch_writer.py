"""Commits on one branch by plumbing alone: cost follows the changed files.

Commits wait on the mirror's own branch until they are pushed, so what could not be pushed
survives an outage and a crash. The remote branch only ever moves forward (I6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guildnet.git.mirror import Mirror


@dataclass(frozen=True, slots=True)
class Identity:
    """Who commits. With `signing_key` (an SSH private key file) every commit is signed."""

    name: str = "GuildNet"
    email: str = "guildnet@localhost"
    signing_key: Path | None = None


class BranchWriter:
    """Writes one branch of a mirror's remote. One writer for each branch and mirror; several
    mirrors may write the same remote branch at once as long as they touch different paths."""

    def __init__(self, mirror: Mirror, branch: str, *, identity: Identity | None = None) -> None:
        self.mirror = mirror
        self.branch = branch

    @property
    def tip(self) -> str | None:
        """The newest commit, pushed or not; None while the branch was never fetched or made."""
        raise NotImplementedError

    @property
    def pushed(self) -> str | None:
        """The newest commit known to be on the remote."""
        raise NotImplementedError

    def commit(
        self, changes: Mapping[str, bytes | None], message: str, *, expected: str | None = None
    ) -> str:
        """Commit `changes` (path -> new content, None deletes) on the tip; the new tip's id.

        Nothing is committed when nothing differs: the tip is returned. With `expected`, raises
        PushRejected when the tip is another; RefNotFound when there is no branch yet.
        """
        raise NotImplementedError

    def push(self) -> str:
        """Push what waits; the remote's tip afterwards.

        When somebody else pushed meanwhile, fetches, replays what waits on the new tip and tries
        again. Raises GitUnavailable (all of it keeps waiting), PushRejected when the remote will
        not take it or its history was rewritten, RefNotFound when the branch is gone.
        """
        raise NotImplementedError

    def create_root(self, files: Mapping[str, bytes], message: str) -> str:
        """Make the branch, holding `files`, and push it expecting that there is none.

        The same files and message give the same commit everywhere, so two that make it at once
        agree. Raises PushRejected when the remote has another branch of that name.
        """
        raise NotImplementedError

    def sync(self) -> str:
        """Fetch the branch and replay what waits on it; the tip. Raises as `push` does."""
        raise NotImplementedError
