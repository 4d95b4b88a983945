"""Follows the source branch: fetch, verify, diff; the result is which orgs have changed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from guildnet.errors import GitError, GitUnavailable, Problem, RefNotFound
from guildnet.git import Mirror
from guildnet.git.refs import is_commit_id
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source.approvals import Approvals
from guildnet_reconciler.source.fetch import Fetched, fetch
from guildnet_reconciler.source.git_tree import GitTree
from guildnet_reconciler.source.index import OrgChange, SourceFile, SourceIndex
from guildnet_reconciler.source.org_source import OrgSource
from guildnet_reconciler.source.verify import verify

log = logging.getLogger(__name__)

MAX_ATTEMPTED_BYTES = 4096
MAX_MISPLACED = 20
"""Misplaced files that are reported one by one."""


@dataclass(frozen=True)
class RepositoryPass:
    """The result of a pass. `changes` lists what a new tip changes for each org; None is everything
    (the first pass, or history that was rewritten and accepted)."""

    outcome: Outcome
    fetched: Fetched | None = None
    is_new: bool = False
    changes: dict[str, OrgChange] | None = field(default_factory=dict)


class Repository:
    """The source branch as far as it was followed: its mirror and its index.

    The last revision that was followed, `attempted`, is kept in the state directory.
    """

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self.mirror = mirror
        self.index: SourceIndex | None = None
        self._settings = settings
        self._moving = threading.Lock()
        self._pending_changes: dict[str, OrgChange] = {}
        self._history = ""
        self._file = Path(f"{mirror.path}.attempted")
        self._outcome: Outcome = Done()
        self._trusted: dict[str, bool] = {}

    @property
    def place(self) -> str:
        return self.mirror.place

    @property
    def outcome(self) -> Outcome:
        """The outcome of the last pass."""
        return self._outcome

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why the repository, or files that belong to no org, are not followed."""
        faults: list[Fault] = []
        if isinstance(self._outcome, Stalled):
            faults.append(Fault(self._outcome.reason, self._outcome.message))
        problems = self.index.problems_of_no_org() if self.index else []
        return (*faults, *_misplaced(problems))

    def faults_of(self, org: str) -> tuple[Fault, ...]:
        """The org's misplaced files."""
        return _misplaced(self.index.problems_of(org)) if self.index else ()

    def fail(self, outcome: Waiting) -> None:
        """A defect ended the pass; the index stays."""
        self._outcome = outcome

    async def run(
        self, *, ask_first: bool, attempted_elsewhere: Callable[[], set[str]]
    ) -> RepositoryPass:
        """Make one pass; `attempted_elsewhere` returns the revisions that the records name, for
        a state directory that knows none."""
        try:
            result = await asyncio.to_thread(self._run, ask_first, attempted_elsewhere)
        except RefNotFound as error:
            result = RepositoryPass(Stalled("SourceBranchMissing", str(error)))
        except GitUnavailable as error:
            result = RepositoryPass(Waiting("GitUnavailable", str(error)))
        except GitError as error:
            result = RepositoryPass(Waiting("GitError", str(error)))
        except OSError as error:
            message = (
                f"{self._file} cannot be written: {error.strerror}: free space on the state "
                f"directory's disk, or make it writable"
            )
            result = RepositoryPass(Waiting("StateDirectory", message))
        if self.index is None and not isinstance(result.outcome, Done):
            result = await asyncio.to_thread(self._resume_at_attempted, result)
        if result.outcome != self._outcome and not isinstance(result.outcome, Done):
            log.warning("repository: %s", result.outcome.message)
        self._outcome = result.outcome
        return result

    def _run(self, ask_first: bool, attempted_elsewhere: Callable[[], set[str]]) -> RepositoryPass:
        settings, known = self._settings, self.index.revision if self.index else None
        fetched = fetch(
            self.mirror,
            settings.branch,
            settings.status_branch,
            known=known,
            ask_first=ask_first,
        )
        if fetched.tip == known:
            return RepositoryPass(Done(), fetched)
        attempted = self._attempted()
        before = {attempted} if attempted else attempted_elsewhere()
        outcome, accepted = verify(
            self.mirror, fetched.tip, attempted=before, signatures=settings.signatures
        )
        if not isinstance(outcome, Done):
            return RepositoryPass(outcome, fetched)
        rewritten = any(not self.mirror.is_ancestor(r, fetched.tip) for r in before & accepted)
        # Keys may have been revoked or replaced since.
        self._trusted.clear()
        # A crash after this line loses nothing: a new process looks at everything.
        self._attempt(fetched.tip)
        if rewritten:
            self._history = fetched.tip
        changes = self._advance(fetched.tip)
        return RepositoryPass(Done(), fetched, is_new=True, changes=None if rewritten else changes)

    def _advance(self, tip: str) -> dict[str, OrgChange] | None:
        if self.index is None:
            self.index = self.peek(tip)
            return None
        changed = self.index.changed_in(GitTree(self.mirror, tip))
        with self._moving:
            moved = self.index.advance(tip, changed)
            for org, change in moved.items():
                self._pending_changes[org] = change.after(self._pending_changes.get(org))
        return moved

    def _resume_at_attempted(self, held: RepositoryPass) -> RepositoryPass:
        """A process that starts while the tip may not be followed continues from the last revision
        that was: running tasks are recorded, and the records of the orgs name the fault."""
        attempted, signatures = self._attempted(), self._settings.signatures
        try:
            if attempted is None or self.mirror.resolve(attempted) is None:
                return held
            if signatures is not None and self.mirror.verify_commit(attempted, signatures) is None:
                return held
            self.index = self.peek(attempted)
        except GitError:
            return held
        return replace(held, is_new=True, changes=None)

    def peek(self, tip: str) -> SourceIndex:
        """The index of a revision, without following it."""
        return SourceIndex.of(tip, GitTree(self.mirror, tip))

    def _attempted(self) -> str | None:
        """The revision followed last; None where the file is missing or was not written by us."""
        try:
            with self._file.open("rb") as file:
                attempted = str(json.loads(file.read(MAX_ATTEMPTED_BYTES))["attempted"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return attempted if is_commit_id(attempted) else None

    def _attempt(self, tip: str) -> None:
        """Remember the tip; a crash leaves the old one, and the pass is made again."""
        draft = self._file.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({"attempted": tip}))
        os.replace(draft, self._file)

    # --- for the passes of orgs -------------------------------------------------------------

    def take(self, org: str, names: frozenset[str] | None) -> OrgSource:
        """The org at the newest revision, with the files of `names` (None: all of them) and of all
        that has changed since the org was last taken."""
        index = self.index
        assert index is not None
        with self._moving:
            change = self._pending_changes.pop(org, OrgChange())
            names = None if names is None or change.org_file else names | change.tasks
            revision, files = index.revision, index.files_of(org)
            taken = dict(files) if names is None else {n: files[n] for n in names if n in files}
            org_file, remaining = index.orgs.get(org), len(files)
            problem, talos = index.unlisted.get(org), index.talos.get(org, "")
        return OrgSource(
            revision=revision,
            org_file=org_file,
            names=names,
            files=taken,
            remaining=remaining,
            problem=problem,
            talos=talos,
            key=(
                org_file.blob if org_file else None,
                self.mirror.tree_id(revision, f"tasks/{org}"),
                self._history,
            ),
        )

    def current(self, org: str, task: str) -> SourceFile | None:
        """The task's file in the newest revision."""
        return self.index.files_of(org).get(task) if self.index else None

    def held(self, revision: str, path: str, blob: str) -> bool:
        """Whether a revision of the followed history held a blob at a path.

        A cluster names both, and may name any blob of the repository.
        """
        followed = self.index.revision if self.index else ""
        if not (is_commit_id(revision) and followed and blob):
            return False
        found = self.mirror.lookup(f"{revision}:{path}")
        is_there = found is not None and (found.type, found.id) == ("blob", blob)
        return is_there and self.mirror.is_ancestor(revision, followed)

    def approvals(self, tip: str, since: str | None) -> Approvals:
        """What the commits up to `tip` approve."""
        return Approvals(self.mirror, tip, since, self.is_trusted, self._is_signed_for)

    def _is_signed_for(self, commit: str, org: str) -> bool:
        signatures = self._settings.org_signatures(org)
        return signatures is not None and self.mirror.verify_commit(commit, signatures) is not None

    def is_trusted(self, commit: str) -> bool:
        """Whether a commit's trailers count."""
        signatures = self._settings.signatures
        if signatures is None:
            return True
        trusted = self._trusted.get(commit)
        if trusted is None:
            trusted = self.mirror.verify_commit(commit, signatures) is not None
            self._trusted[commit] = trusted
        return trusted


def _misplaced(problems: list[Problem]) -> tuple[Fault, ...]:
    faults = [Fault("Misplaced", str(problem)) for problem in problems[:MAX_MISPLACED]]
    if len(problems) > MAX_MISPLACED:
        more = len(problems) - MAX_MISPLACED
        faults.append(Fault("Misplaced", f"{more} more; `guildnet validate` lists all of them"))
    return tuple(faults)
