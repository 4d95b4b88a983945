"""A bare mirror of one repository: conversations with the remote, and the mirror's folder.

Never a work tree. What can be read from it is in `contents`.

Methods that contact the remote raise GitUnavailable (no answer, too late, access denied) or
RefNotFound (the remote answered that it has no such ref); others raise GitError alone.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType

from guildnet.errors import ConfigurationError, ForgeError, GitError, GitUnavailable, RefNotFound
from guildnet.git import old_history, store
from guildnet.git.contents import Contents
from guildnet.git.credentials import NOTHING, CredentialProvider, Credentials, ssh_command
from guildnet.git.location import check_url
from guildnet.git.process import REMOTE_TIMEOUT, CommandFailed, CommandTimedOut
from guildnet.git.refs import is_ref_name, remote_ref, tracking_ref
from guildnet.git.remote_errors import is_confirmed, push_error, remote_error
from guildnet.redact import strip_url
from guildnet.state_folder import FolderLock

# Each fetch adds a pack and each small commit a few loose objects; both slow lookups down.
MAX_PACKS = 30
MAX_LOOSE_OBJECTS = 4000
# A push of gigabytes must be fetched eventually, or no later commit would be. Meanwhile the last
# fetched revision stays in use, and pushes do not wait for the fetch.
LONGEST_FETCH = timedelta(minutes=30)
# The first index of a thousand commits of ten thousand tasks takes a second or two.
_NO_COMMIT = "0" * 40
INDEX_TIMEOUT = timedelta(minutes=15)


class Mirror(Contents):
    """One repository, mirrored in one folder that a single process owns. Thread-safe.

    Use `Mirror.open` to create one.
    """

    def __init__(self, url: str, path: Path, credentials: CredentialProvider | None) -> None:
        super().__init__(path, strip_url(url))
        self.url = url
        self._credentials = credentials or NOTHING
        self._ref_locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._lock: FolderLock | None = None

    @classmethod
    def open(cls, url: str, path: Path, *, credentials: CredentialProvider | None = None) -> Mirror:
        """Open the mirror in folder `path`; create it when missing. Does not contact the remote.

        Raises ConfigurationError for a URL that is not supported, when git is missing or when
        another process uses the folder, GitError for a folder that cannot be written or mirrors
        another repository.
        """
        mirror = cls(check_url(url), path.absolute(), credentials)
        mirror._lock = store.prepare(mirror.commands, mirror.path, mirror.url)
        return mirror

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
        """End git's lookup process and release the folder; the mirror can be used again."""
        self._objects.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # --- the remote -------------------------------------------------------------------------

    def ls_remote(self, patterns: Sequence[str]) -> dict[str, str]:
        """Full ref name -> id of the refs that match `patterns` (full names, `*` allowed).

        An empty answer means that the remote has none; no answer is GitUnavailable.
        """
        output = self._ask_remote("ls-remote", "--refs", "-q", "--", self.url, *patterns)
        found: dict[str, str] = {}
        for line in output.decode("utf-8", "backslashreplace").splitlines():
            oid, _, ref = line.partition("\t")
            # git matches patterns against the ends of names; callers mean the whole name.
            if not patterns or any(fnmatchcase(ref, pattern) for pattern in patterns):
                found[ref] = oid
        return found

    def fetch(self, branches: Sequence[str]) -> dict[str, str]:
        """Fetch the branches; return the commit id of each by its name.

        A name is a branch (`main`), a full ref (`refs/tags/v1`) or a commit id. Copies are moved
        by force: rewritten history is for the caller to judge. Raises RefNotFound, naming what
        is missing, after the others were fetched; copies of what is missing stay as they were.
        """
        for name in branches:
            self._check_ref(name)
        wanted = list(branches)
        missing: list[str] = []
        while wanted:
            try:
                self._fetch(wanted)
                break
            except RefNotFound as error:
                # git stops at the first missing ref and names it.
                gone = [name for name in wanted if error.message.endswith(f" {remote_ref(name)}")]
                missing += gone or wanted
                wanted = [name for name in wanted if name not in missing]
        if missing:
            raise RefNotFound(f"the remote has no {', '.join(missing)}", place=self.place)
        return {name: oid for name in branches if (oid := self.resolve(name)) is not None}

    def _fetch(self, names: Sequence[str]) -> None:
        specs = [f"+{remote_ref(name)}:{tracking_ref(name)}" for name in names]
        options = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--progress")
        with self._alone_on(names):
            self._ask_remote(
                "fetch",
                *options,
                "--",
                self.url,
                *specs,
                settings=old_history.SETTINGS,
                longest=LONGEST_FETCH,
            )

    def push(self, commit: str, branch: str, *, expected: str | None) -> None:
        """Move the remote's branch from `expected` (None: it must not be there) to `commit`, and
        the mirror's copy with it. Raises PushRejected when it is not at `expected` or the remote
        refuses, GitUnavailable. The caller sees to it that `commit` descends from `expected`."""
        self._check_ref(branch)
        ref = f"refs/heads/{branch}"
        lease = f"--force-with-lease={ref}:{expected or ''}"
        with self._alone_on([branch]):
            try:
                output = self._remote(
                    "push",
                    "--porcelain",
                    "--no-verify",
                    "--no-recurse-submodules",
                    lease,
                    "--",
                    self.url,
                    f"{commit}:{ref}",
                )
            except (CommandFailed, CommandTimedOut) as error:
                raise push_error(error, self.place) from error
            if not is_confirmed(output.decode("utf-8", "replace"), f"{commit}:{ref}"):
                raise GitUnavailable("the remote did not confirm the push", place=self.place)
            self.commands.run("update-ref", tracking_ref(branch), commit)

    def move_ref(self, ref: str, commit: str, *, expected: str | None) -> None:
        """Move a ref of the mirror from `expected` (None: it must not be there) to `commit`.
        Raises GitError when the ref has another value: changes by others are not overwritten."""
        self.commands.run("update-ref", ref, commit, expected or _NO_COMMIT)

    @contextmanager
    def _alone_on(self, names: Iterable[str]) -> Iterator[None]:
        """Hold the locks of these refs: git processes that update the same ref collide.

        A fetch and a push of different refs do not wait for each other.
        """
        with ExitStack() as held:
            # Always in the same order, so that two threads cannot deadlock.
            for ref in sorted({tracking_ref(name) for name in names}):
                held.enter_context(self._ref_locks[ref])
            yield

    def _ask_remote(
        self,
        *args: str,
        settings: Mapping[str, str] | None = None,
        longest: timedelta | None = None,
    ) -> bytes:
        try:
            return self._remote(*args, settings=settings, longest=longest)
        except (CommandFailed, CommandTimedOut) as error:
            raise remote_error(error, self.place) from error

    def _remote(
        self,
        *args: str,
        settings: Mapping[str, str] | None = None,
        longest: timedelta | None = None,
    ) -> bytes:
        given = self._current_credentials()
        return self.commands.run(
            *args,
            settings={**given.settings(self.url), **(settings or {})},
            environment={"GIT_SSH_COMMAND": ssh_command(given), **given.environment()},
            timeout=REMOTE_TIMEOUT,
            longest=longest,
            redact=given.redactor(),
        )

    def _current_credentials(self) -> Credentials:
        """What the provider answers now. Credentials that cannot be read while they are being
        replaced count as an outage: the next try succeeds."""
        try:
            return self._credentials.current().for_ssh(self.path)
        except (ConfigurationError, ForgeError) as error:
            raise GitUnavailable(error.message, place=error.place, cure=error.cure) from error
        except OSError as error:
            message = f"the ssh key cannot be copied: {error}"
            raise GitUnavailable(message, place=str(self.path)) from error

    # --- the folder -------------------------------------------------------------------------

    def maintain(self) -> None:
        """Repack the objects of fetches and commits when there are many; cost follows what is new.

        Call it now and then. It can run beside fetches, which do not wait for it.
        """
        objects = self.path / "objects"
        packs = sum(1 for _ in (objects / "pack").glob("*.pack"))
        # Objects are spread evenly over 256 folders, so one of them gives an estimate.
        loose = 256 * sum(1 for _ in (objects / "17").glob("*"))
        if packs > MAX_PACKS or loose > MAX_LOOSE_OBJECTS:
            self.commands.run("repack", "-d", "-l", "-q", "--geometric=2", timeout=REMOTE_TIMEOUT)

    def size_bytes(self) -> int:
        """The size of the mirror's objects on disk."""
        total = 0
        for folder, _, files in os.walk(self.path / "objects"):
            for file in files:
                with suppress(OSError):  # packed meanwhile
                    total += os.stat(os.path.join(folder, file)).st_size
        return total

    def index_history(self) -> None:
        """Index which paths each commit changed, so that the history of a path needs no trees.

        The cost depends on the number of new commits.
        """
        options = ("--reachable", "--changed-paths", "--split", "--no-progress")
        self.commands.run("commit-graph", "write", *options, timeout=INDEX_TIMEOUT)

    def _check_ref(self, name: str) -> None:
        if not is_ref_name(name):
            raise GitError(f"{name[:100]!r} is not a branch name", place=self.place)
