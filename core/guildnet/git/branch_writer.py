"""Commits to one branch with plumbing commands; the cost depends on the changed files alone.

Commits stay on a branch of the mirror until they are pushed, so that they survive an outage and a
crash. The remote branch is never rewound (I6).
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.backoff import Backoff
from guildnet.errors import PushRejected, RefNotFound
from guildnet.git.fast_import import BlobId, CommitDraft, Content, check_path, stream
from guildnet.git.mirror import Mirror

PUSH_ATTEMPTS = 8
# The wait after another writer has moved the branch: all of its writers retry.
_CONTENDED = Backoff(timedelta(milliseconds=50), timedelta(seconds=5), jitter=1.0)
# Replaying each of the many commits of a long outage would take minutes: beyond this number they
# are squashed into one. Intermediate states may be coalesced (I6).
MAX_REPLAYED_COMMITS = 20

Yields = Callable[[str], bool]
"""Whether another writer's content of a path wins over the content of unpushed commits."""

Completes = Callable[[str, Mapping[str, Content], int], Mapping[str, Content]]
"""From (parent, changes, seconds since 1970) of a commit to all of its changes, including files
that are derived from the others and from the parent's content."""


def never(path: str) -> bool:
    """Yield no path: this writer owns all of them."""
    del path
    return False


@dataclass(frozen=True, slots=True)
class Identity:
    """The committer. With `signing_key` (an SSH private key file) every commit is signed."""

    name: str = "GuildNet"
    email: str = "guildnet@localhost"
    signing_key: Path | None = None

    @property
    def person(self) -> str:
        """The name in git's format: `Name <mail>`."""
        name, email = (re.sub(r"[<>\x00-\x1f]", "", text) for text in (self.name, self.email))
        return f"{name} <{email}>"


class BranchWriter:
    """Writes one branch of a mirror's remote.

    A mirror has one writer for each branch. Several mirrors may write the same remote branch at
    once if they write different paths.
    """

    def __init__(self, mirror: Mirror, branch: str, *, identity: Identity | None = None) -> None:
        self.mirror = mirror
        self.branch = branch
        self.identity = identity or Identity()
        self.completes: Completes = lambda parent, changes, when: changes
        self._local_ref = f"refs/heads/{branch}"
        self._pushed_ref = f"refs/guildnet/pushed/{branch}"
        self._lock = threading.RLock()

    @property
    def tip(self) -> str | None:
        """The newest commit, pushed or not; None before the branch was fetched or created."""
        return self._resolve(self._local_ref) or self.pushed

    @property
    def pushed(self) -> str | None:
        """The newest commit known to be on the remote; None before the first."""
        return self._resolve(self._pushed_ref)

    @property
    def waits(self) -> bool:
        """Whether some commits are not pushed yet."""
        return self.tip != self.pushed

    def commit(
        self, changes: Mapping[str, bytes | None], message: str, *, expected: str | None = None
    ) -> str:
        """Commit `changes` (path -> new content, None deletes) on the tip; return the new tip.

        Without a difference no commit is made and the tip is returned. Raises PushRejected when
        the tip is not `expected`, RefNotFound before the branch exists (call `sync` or
        `create_root` first). Does not contact the remote.
        """
        with self._lock:
            tip = self.tip
            if tip is None:
                raise RefNotFound(f"there is no {self.branch} yet", place=self.mirror.place)
            if expected is not None and expected != tip:
                message = f"{self.branch} moved on to {tip}"
                raise PushRejected(message, place=self.mirror.place)
            commit = self._commit_on(tip, changes, message, int(time.time()))
            self._move(self._local_ref, commit)
            return commit

    def push(self, yields: Yields = never) -> str:
        """Push unpushed commits, if any; return the remote's tip.

        If another writer pushed first, fetches, replays the commits on the new tip (as `sync`
        does) and pushes again. Raises GitUnavailable (the commits stay unpushed), PushRejected
        when the remote rejects them or its history was rewritten, RefNotFound when the branch no
        longer exists.
        """
        with self._lock:
            for attempt in range(PUSH_ATTEMPTS):
                tip, pushed = self.tip, self.pushed
                if tip is None:
                    raise RefNotFound(f"there is no {self.branch} yet", place=self.mirror.place)
                if tip == pushed:
                    return tip
                try:
                    self.mirror.push(tip, self.branch, expected=pushed)
                except PushRejected:
                    self.sync(yields=yields)
                    if self.pushed == pushed or attempt == PUSH_ATTEMPTS - 1:
                        # No writer moved the branch: the remote itself rejects the commits.
                        raise
                    time.sleep(_CONTENDED.pause(attempt + 1).total_seconds())
                else:
                    self._move(self._pushed_ref, tip)
                    return tip
            raise AssertionError("unreachable")

    def sync(self, *, accept_rewritten: bool = False, yields: Yields = never) -> str:
        """Fetch the branch and replay unpushed commits on it; return the new tip.

        A path for which `yields` is true keeps what another writer has written since. Raises
        GitUnavailable, RefNotFound when the remote has no such branch, and PushRejected when its
        history was rewritten. With `accept_rewritten` the commits are replayed on the rewritten
        history instead.
        """
        with self._lock:
            before = self.pushed
            remote = self.mirror.fetch([self.branch])[self.branch]
            known = before is None or self.mirror.is_ancestor(before, remote)
            if not known and not accept_rewritten:
                raise PushRejected(
                    f"the history of {self.branch} was rewritten: it no longer contains {before}",
                    place=self.mirror.place,
                    cure=f"push {before} back to {self.branch}",
                )
            local = self._resolve(self._local_ref)
            if local is not None and not self.mirror.is_ancestor(local, remote):
                self._replay(local, remote, yields)
            else:
                self._move(self._local_ref, remote)
            self._move(self._pushed_ref, remote)
            return self.tip or remote

    def create_root(self, files: Mapping[str, bytes], message: str) -> str:
        """Create the branch with `files` and push it, provided that the remote has no such branch.

        If two processes create it at once, both use the branch that arrived first. Raises
        PushRejected when the remote has a different branch of that name.
        """
        with self._lock:
            draft = CommitDraft(None, files, message, self.identity.person, int(time.time()))
            root = self._make(draft, signed=False)
            try:
                self.mirror.push(root, self.branch, expected=None)
            except PushRejected:
                theirs = self.mirror.fetch([self.branch])[self.branch]
                if self._tree_of_root(theirs) != self._tree_of_root(root):
                    raise
                root = theirs
            self._move(self._local_ref, root)
            self._move(self._pushed_ref, root)
            return root

    def _tree_of_root(self, commit: str) -> str | None:
        """The tree of a commit without parents; None for any other."""
        if self.mirror.commit_info(commit).parents:
            return None
        return self.mirror.tree_id(commit, "")

    # --- making commits ---------------------------------------------------------------------

    def _commit_on(
        self, parent: str, changes: Mapping[str, Content], message: str, when: int
    ) -> str:
        differing = self._differing(parent, self.completes(parent, changes, when))
        if not differing:
            return parent
        return self._make(CommitDraft(parent, differing, message, self.identity.person, when))

    def _differing(self, parent: str, changes: Mapping[str, Content]) -> dict[str, Content]:
        """The changes that differ from the parent, so that an unchanged state makes no commit."""
        names = (f"{parent}:{check_path(path)}" for path in changes)
        found = self.mirror.lookups(names)
        return {
            path: content
            for (path, content), known in zip(changes.items(), found, strict=True)
            if (known.id if known else None) != _content_id(content)
        }

    def _make(self, draft: CommitDraft, *, signed: bool = True) -> str:
        # fast-import must write a ref. This one is not the branch; it keeps the commit reachable.
        ref = f"refs/guildnet/import/{self.branch}"
        output = self.mirror.commands.run(
            "fast-import", "--quiet", "--force", "--done", stdin=stream(draft, ref)
        )
        commit = output.decode().strip()
        if signed and self.identity.signing_key is not None:
            commit = self._sign(commit, draft, self.identity.signing_key)
        return commit

    def _sign(self, commit: str, draft: CommitDraft, key: Path) -> str:
        roles = ("AUTHOR", "COMMITTER")
        environment = {f"GIT_{role}_NAME": self.identity.name for role in roles}
        environment |= {f"GIT_{role}_EMAIL": self.identity.email for role in roles}
        environment |= {f"GIT_{role}_DATE": f"{draft.when} +0000" for role in roles}
        parents = ["-p", draft.parent] if draft.parent else []
        output = self.mirror.commands.run(
            "commit-tree",
            "-S",
            *parents,
            "-F",
            "-",
            f"{commit}^{{tree}}",
            stdin=draft.message.encode(),
            settings={"gpg.format": "ssh", "user.signingKey": str(key.absolute())},
            environment=environment,
        )
        return output.decode().strip()

    # --- replaying --------------------------------------------------------------------------

    def _replay(self, local: str, onto: str, yields: Yields) -> None:
        """Replay the commits of `local` that `onto` lacks on `onto`.

        Their content wins, because each writer has its own paths, except for yielded paths.
        """
        base = self._merge_base(local, onto)
        theirs = {change.path for change in self.mirror.diff(base, onto) if yields(change.path)}
        tip = onto
        for parent, commit in self._waiting(base, local):
            info = self.mirror.commit_info(commit)
            changes: dict[str, Content] = {
                change.path: None if change.status == "D" else BlobId(change.blob)
                for change in self.mirror.diff(parent, commit)
                if change.path not in theirs
            }
            message = f"{info.subject}\n\n{info.body}"
            tip = self._commit_on(tip, changes, message, int(info.when.timestamp()))
        # Moved last: after a crash before this line the unpushed commits are unchanged.
        self._move(self._local_ref, tip)

    def _waiting(self, base: str, local: str) -> list[tuple[str, str]]:
        args = ("rev-list", "--reverse", "--first-parent", f"{base}..{local}")
        commits = self.mirror.commands.run(*args).decode().split()
        if len(commits) > MAX_REPLAYED_COMMITS:
            return [(base, local)]
        return list(zip([base, *commits], commits, strict=False))

    def _merge_base(self, one: str, other: str) -> str:
        output = self.mirror.commands.run("merge-base", one, other)
        return output.decode().strip()

    # --- refs -------------------------------------------------------------------------------

    def _resolve(self, ref: str) -> str | None:
        found = self.mirror.lookup(f"{ref}^{{commit}}")
        return found.id if found else None

    def _move(self, ref: str, commit: str) -> None:
        old = self._resolve(ref)
        if old != commit:
            self.mirror.move_ref(ref, commit, expected=old)


def _content_id(content: Content) -> str | None:
    """git's object id of the content."""
    if content is None or isinstance(content, BlobId):
        return content.id if content else None
    header = b"blob %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
