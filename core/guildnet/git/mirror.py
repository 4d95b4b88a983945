"""A bare mirror of one repository: fetch, index, diff, blobs, history. Never a work tree.

Methods that speak to the remote raise GitUnavailable (no answer, not in time, not let in) or
RefNotFound (it answered and has no such ref); all others raise GitError alone.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType

from guildnet.errors import GitError, RefNotFound
from guildnet.git import store
from guildnet.git.commands import (
    REMOTE_TIMEOUT,
    CommandFailed,
    Commands,
    CommandTimedOut,
)
from guildnet.git.credentials import Credentials, ssh_command
from guildnet.git.history import LOG_FORMAT, CommitInfo, parse_log
from guildnet.git.location import check_url, redact_url
from guildnet.git.objects import ObjectInfo, ObjectReader
from guildnet.git.refs import is_commit_id, is_ref_name, remote_ref, tracking_ref
from guildnet.git.remote_errors import push_error, remote_error
from guildnet.git.trees import (
    REGULAR_MODES,
    Change,
    TreeEntry,
    parse_raw_diff,
    parse_tree,
)

# A commit object larger than this is no commit that a person or a forge made.
MAX_COMMIT_BYTES = 1024 * 1024
# Every fetch leaves a pack, every small commit a few loose objects; lookups slow down with both.
MAX_PACKS = 30
MAX_LOOSE_OBJECTS = 4000


class Mirror:
    """One repository, mirrored in one folder. Safe to use from several threads at once; one
    process owns the folder. `Mirror.open` makes them."""

    def __init__(self, url: str, path: Path, credentials: Credentials | None) -> None:
        self.url = url
        self.path = path
        self.place = redact_url(url)
        self._credentials = credentials
        self.commands = Commands(path, self.place)
        self._objects = ObjectReader(self.commands)
        self._ref_locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._owned: int | None = None

    @classmethod
    def open(cls, url: str, path: Path, *, credentials: Credentials | None = None) -> Mirror:
        """The mirror in folder `path`, made there when there is none; asks nothing of the remote.

        Raises ConfigurationError for a URL that is not taken or when git is missing, GitError
        for a folder that cannot be written or mirrors another repository.
        """
        mirror = cls(check_url(url), path.absolute(), credentials)
        mirror._owned = store.prepare(mirror.commands, mirror.path, mirror.url)
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
        """End the process that is kept; the mirror can be used again afterwards."""
        self._objects.close()
        if self._owned is not None:
            os.close(self._owned)
            self._owned = None

    # --- the remote -------------------------------------------------------------------------

    def ls_remote(self, patterns: Sequence[str]) -> dict[str, str]:
        """Full ref name -> id for refs that match `patterns` (full names, `*` allowed).

        An empty answer means that the remote has none; no answer is GitUnavailable.
        """
        output = self._ask_remote("ls-remote", "--refs", "-q", "--", self.url, *patterns)
        found: dict[str, str] = {}
        for line in output.decode("utf-8", "backslashreplace").splitlines():
            oid, _, ref = line.partition("\t")
            # git matches patterns against the ends of names; callers mean the whole.
            if not patterns or any(fnmatchcase(ref, pattern) for pattern in patterns):
                found[ref] = oid
        return found

    def fetch(self, branches: Sequence[str]) -> dict[str, str]:
        """Bring the mirror's copy of each branch to what the remote has; branch -> commit id.

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
                # git stops at the first ref that is missing, and names it.
                gone = [name for name in wanted if error.message.endswith(f" {remote_ref(name)}")]
                missing += gone or wanted
                wanted = [name for name in wanted if name not in missing]
        if missing:
            raise RefNotFound(f"the remote has no {', '.join(missing)}", place=self.place)
        return {name: oid for name in branches if (oid := self.resolve(name)) is not None}

    def _fetch(self, names: Sequence[str]) -> None:
        specs = [f"+{remote_ref(name)}:{tracking_ref(name)}" for name in names]
        options = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "-q")
        with self._alone_on(names):
            self._ask_remote("fetch", *options, "--", self.url, *specs)

    def push(self, commit: str, branch: str, *, expected: str | None) -> None:
        """Move the remote's branch from `expected` (None: it must not be there) to `commit`, and
        the mirror's copy with it. Raises PushRejected when it is not at `expected` or the remote
        refuses, GitUnavailable. The caller sees to it that `commit` descends from `expected`."""
        self._check_ref(branch)
        ref = f"refs/heads/{branch}"
        lease = f"--force-with-lease={ref}:{expected or ''}"
        with self._alone_on([branch]):
            try:
                self._remote(
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
            self.commands.run("update-ref", tracking_ref(branch), commit)

    @contextmanager
    def _alone_on(self, names: Iterable[str]) -> Iterator[None]:
        """Two at once would fight over the locks of the same refs; of different refs, a fetch
        never waits for a push."""
        with ExitStack() as held:
            # Always in the same order, so that two never wait for each other.
            for ref in sorted({tracking_ref(name) for name in names}):
                held.enter_context(self._ref_locks[ref])
            yield

    def _ask_remote(self, *args: str) -> bytes:
        try:
            return self._remote(*args)
        except (CommandFailed, CommandTimedOut) as error:
            raise remote_error(error, self.place) from error

    def _remote(self, *args: str) -> bytes:
        given = self._credentials
        return self.commands.run(
            *args,
            settings=given.settings(self.url) if given else {},
            environment={
                "GIT_SSH_COMMAND": ssh_command(given),
                **(given.environment() if given else {}),
            },
            timeout=REMOTE_TIMEOUT,
        )

    # --- what is here -----------------------------------------------------------------------

    def lookup(self, name: str) -> ObjectInfo | None:
        """What a name in git's own syntax stands for here (`commit:path`, `ref^{tree}`)."""
        return self._objects.info(name)

    def lookups(self, names: Iterable[str]) -> Iterator[ObjectInfo | None]:
        """`lookup` of many names, in order, much faster than one by one."""
        return self._objects.infos(names)

    def resolve(self, ref: str) -> str | None:
        """The commit id of a fetched branch (`main`), a full ref or an id; None when not here."""
        if not is_ref_name(ref):
            return None
        name = ref if is_commit_id(ref) else tracking_ref(ref)
        found = self._objects.info(f"{name}^{{commit}}")
        return found.id if found else None

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Whether `commit` is `ancestor` or descends from it; False when either is not here."""
        older, newer = self.resolve(ancestor), self.resolve(commit)
        if older is None or newer is None or older == newer:
            return older is not None and older == newer
        try:
            self.commands.run("merge-base", "--is-ancestor", older, newer)
        except CommandFailed as error:
            if error.status == 1:
                return False
            raise
        return True

    def entries(self, commit: str, prefixes: Sequence[str] = ()) -> list[TreeEntry]:
        """Every entry under the given folders (all when none are given), of any kind.

        Bytes that are not UTF-8 in a path come out as `\\xNN`.
        """
        return [TreeEntry(*line) for line in self._tree(commit, prefixes)]

    def index(self, commit: str, prefixes: Sequence[str] = ()) -> dict[str, str]:
        """path -> blob id of the regular files under the given folders."""
        lines = self._tree(commit, prefixes)
        return {path: blob for path, mode, blob in lines if mode in REGULAR_MODES}

    def _tree(self, commit: str, prefixes: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        tree = self._required(commit)
        paths = _folders(prefixes)
        return parse_tree(self.commands.run("ls-tree", "-r", "-z", "--full-tree", tree, *paths))

    def diff(self, old: str, new: str, prefixes: Sequence[str] = ()) -> list[Change]:
        """What differs from `old` to `new`; renames are a D and an A. Cost follows the change."""
        options = ("-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--ignore-submodules=none")
        ids = (self._required(old), self._required(new))
        output = self.commands.run("diff-tree", *options, *ids, "--", *_folders(prefixes))
        return list(parse_raw_diff(output))

    def tree_id(self, commit: str, path: str) -> str | None:
        """The object id of a folder or file at `path`; None when there is none. "" is the root."""
        path = path.strip("/")
        found = self._objects.info(f"{self._required(commit)}:{path}")
        return found.id if found else None

    def read_blobs(
        self, ids: Iterable[str], *, max_bytes: int
    ) -> Iterator[tuple[str, int, bytes | None]]:
        """(id, size, content) in the order asked, content None where larger than `max_bytes`.

        Raises GitError for an id that is not a blob here.
        """
        return self._objects.blobs(ids, max_bytes)

    def show(self, commit: str, path: str, *, max_bytes: int) -> bytes | None:
        """The file at `path`, None when there is none (or it is a folder or submodule).

        Raises GitError when it is larger than `max_bytes`.
        """
        found = self._objects.info(f"{self._required(commit)}:{path.strip('/')}")
        if found is None or found.type != "blob":
            return None
        _, size, content = next(self.read_blobs([found.id], max_bytes=max_bytes))
        if content is None:
            message = f"{path} has {size} bytes, more than {max_bytes}"
            raise GitError(message, place=self.place)
        return content

    def commit_info(self, commit: str) -> CommitInfo:
        """The commit itself; GitError when it is not here or larger than 1 MiB."""
        oid = self._required(commit)
        found = self._objects.info(oid)
        if found is not None and found.size > MAX_COMMIT_BYTES:
            raise GitError(f"commit {oid} has {found.size} bytes", place=self.place)
        return self.log(oid, limit=1)[0]

    def log(
        self, ref: str, paths: Sequence[str] = (), *, limit: int, since: str | None = None
    ) -> list[CommitInfo]:
        """At most `limit` commits reachable from `ref`, newest first, that touch any of `paths`;
        with `since`, only those not reachable from it."""
        range_ = [self._required(ref), *([f"^{self._required(since)}"] if since else [])]
        options = ("-z", LOG_FORMAT, "--no-show-signature", f"--max-count={limit}")
        return list(parse_log(self.commands.run("log", *options, *range_, "--", *paths)))

    def verify_commit(self, commit: str, allowed_signers: Path) -> str | None:
        """Who signed the commit by SSH, as named in `allowed_signers`; None when nobody there."""
        output = self.commands.run(
            "log",
            "--max-count=1",
            "--format=%G?%x00%GS",
            self._required(commit),
            "--",
            settings={
                "gpg.format": "ssh",
                "gpg.ssh.allowedSignersFile": str(allowed_signers.absolute()),
            },
        )
        verdict, _, signer = output.decode("utf-8", "replace").strip().partition("\0")
        return signer if verdict == "G" else None

    def maintain(self) -> None:
        """Pack what fetches and commits left behind when there is much of it; cost follows what
        is new. Call it now and then; git lets it run beside fetches, which do not wait for it."""
        objects = self.path / "objects"
        packs = sum(1 for _ in (objects / "pack").glob("*.pack"))
        # Objects spread evenly over 256 folders: one of them tells how many there are.
        loose = 256 * sum(1 for _ in (objects / "17").glob("*"))
        if packs > MAX_PACKS or loose > MAX_LOOSE_OBJECTS:
            self.commands.run("repack", "-d", "-l", "-q", "--geometric=2", timeout=REMOTE_TIMEOUT)

    def _required(self, ref: str) -> str:
        found = self.resolve(ref)
        if found is None:
            raise GitError(f"there is no commit {redact_url(ref)[:100]} here", place=self.place)
        return found

    def _check_ref(self, name: str) -> None:
        if not is_ref_name(name):
            raise GitError(f"{name[:100]!r} is no name of a branch", place=self.place)


def _folders(prefixes: Sequence[str]) -> list[str]:
    return [prefix.rstrip("/") for prefix in prefixes if prefix.rstrip("/")]
