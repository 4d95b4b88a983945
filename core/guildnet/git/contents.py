"""Reads a bare repository: names, trees, diffs, blobs, history. Contacts no remote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from guildnet.errors import GitError
from guildnet.git.history import MAX_COMMIT_BYTES, CommitInfo, parse_commit
from guildnet.git.objects import ObjectInfo, ObjectReader
from guildnet.git.process import CommandFailed, IsolatedGit, OutputTooLarge
from guildnet.git.refs import is_commit_id, is_ref_name, tracking_ref
from guildnet.git.signatures import SignaturePolicy, Verification
from guildnet.git.trees import (
    REGULAR_MODES,
    Change,
    TreeEntry,
    parse_raw_diff,
    parse_raw_diffs,
    parse_tree,
    parse_tree_object,
)
from guildnet.redact import strip_url


class Contents:
    """The content of the bare repository in folder `path`; errors name it by `place`.

    A parameter that takes a commit accepts the name of a fetched branch, a full ref or an id.
    Methods raise GitError, also for an unknown commit.
    """

    def __init__(self, path: Path, place: str) -> None:
        self.path = path
        self.place = place
        self.commands = IsolatedGit(path, place)
        self._objects = ObjectReader(self.commands)

    def lookup(self, name: str) -> ObjectInfo | None:
        """The object that a name in git's syntax resolves to (`commit:path`, `ref^{tree}`)."""
        return self._objects.info(name)

    def lookups(self, names: Iterable[str]) -> Iterator[ObjectInfo | None]:
        """`lookup` for many names, in order and in one batch."""
        return self._objects.infos(names)

    def resolve(self, ref: str) -> str | None:
        """The commit id of a fetched branch (`main`), a full ref or an id; None when unknown."""
        if not is_ref_name(ref):
            return None
        name = ref if is_commit_id(ref) else tracking_ref(ref)
        found = self._objects.info(f"{name}^{{commit}}")
        return found.id if found else None

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Whether `commit` is `ancestor` or descends from it; False when either is unknown."""
        older, newer = self.resolve(ancestor), self.resolve(commit)
        if older is None or newer is None or older == newer:
            return older is not None and older == newer
        parent = self._objects.info(f"{newer}^1")
        if parent is not None and parent.id == older:
            return True  # one commit or merge further, as in most cases: needs no process
        try:
            self.commands.run("merge-base", "--is-ancestor", older, newer)
        except CommandFailed as error:
            if error.status == 1:
                return False
            raise
        return True

    def entries(self, commit: str, prefixes: Sequence[str] = ()) -> list[TreeEntry]:
        """Every entry of any kind under the given folders, or in the whole tree without any.

        Bytes of a path that are not UTF-8 are returned as `\\xNN`.
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

    def folder(self, tree: str, *, max_bytes: int) -> list[TreeEntry] | None:
        """The entries of a tree, one level deep, with their names as `path`.

        `tree` is an object id. None when the tree object is larger than `max_bytes`. Raises
        GitError for an id that is not a tree.
        """
        found = self._objects.info(tree)
        if found is None or found.type != "tree":
            raise GitError(f"{tree[:64]} is not a tree of this repository", place=self.place)
        if found.size > max_bytes:
            return None
        try:
            entries = parse_tree_object(self._objects.content(found.id), len(found.id) // 2)
        except ValueError as error:
            message = f"tree {found.id} cannot be read: {error}"
            raise GitError(message, place=str(self.path)) from error
        return [TreeEntry(*entry) for entry in entries]

    def diff(self, old: str, new: str, prefixes: Sequence[str] = ()) -> list[Change]:
        """The differences from `old` to `new`; a rename is a D and an A."""
        ids = (self._required(old), self._required(new))
        output = self.commands.run("diff-tree", *_DIFF, *ids, "--", *_folders(prefixes))
        return list(parse_raw_diff(output))

    def changes_of(
        self, commits: Sequence[str], prefixes: Sequence[str] = ()
    ) -> dict[str, list[Change]]:
        """The changes of each commit against its parent, in one process; none for a merge."""
        found: dict[str, list[Change]] = {self._required(commit): [] for commit in commits}
        ids = "".join(f"{commit}\n" for commit in found).encode()
        options = ("--stdin", "--root", *_DIFF, "--", *_folders(prefixes))
        if not found:
            return {}
        for commit, change in parse_raw_diffs(self.commands.run("diff-tree", *options, stdin=ids)):
            found[commit].append(change)
        return found

    def tree_id(self, commit: str, path: str) -> str | None:
        """The object id of the folder or file at `path`, None without one. "" is the root."""
        path = path.strip("/")
        found = self._objects.info(f"{self._required(commit)}:{path}")
        return found.id if found else None

    def read_blobs(
        self, ids: Iterable[str], *, max_bytes: int
    ) -> Iterator[tuple[str, int, bytes | None]]:
        """(id, size, content) in the order of `ids`; content is None above `max_bytes`.

        Raises GitError for an id that is not a blob here.
        """
        return self._objects.blobs(ids, max_bytes)

    def show(self, commit: str, path: str, *, max_bytes: int) -> bytes | None:
        """The file at `path`; None without one, also for a folder or submodule.

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
        """The parsed commit; a long message is cut."""
        oid = self._required(commit)
        return parse_commit(oid, next(self._objects.heads([oid], MAX_COMMIT_BYTES)))

    def log(
        self,
        ref: str,
        paths: Sequence[str] = (),
        *,
        limit: int,
        since: str | None = None,
        every_side: bool = False,
    ) -> list[CommitInfo]:
        """At most `limit` commits reachable from `ref` that touch any of `paths`, newest first.

        With `since`, only commits that are not reachable from it. If a merge took one parent's
        version of `paths`, the commits of the other parent count only with `every_side`.
        """
        return list(self.commits(ref, paths, limit=limit, since=since, every_side=every_side))

    def commits(
        self,
        ref: str,
        paths: Sequence[str] = (),
        *,
        limit: int,
        since: str | None = None,
        every_side: bool = False,
    ) -> Iterator[CommitInfo]:
        """`log` as an iterator that reads messages when they are needed."""
        range_ = [self._required(ref), *([f"^{self._required(since)}"] if since else [])]
        options = ["--format=%H", "--no-show-signature", f"--max-count={limit}"]
        options += ["--full-history"] if every_side else []
        ids = self.commands.run("log", *options, *range_, "--", *paths).decode().split()
        for oid, data in zip(ids, self._objects.heads(ids, MAX_COMMIT_BYTES), strict=True):
            yield parse_commit(oid, data)

    def touched(self, ref: str, folder: str, *, since: str, max_bytes: int) -> set[str] | None:
        """The paths below `folder` that commits reachable from `ref` and not from `since` changed.

        A merge is compared with each of its parents. None when the list exceeds `max_bytes`.
        """
        options = ("-z", "--format=", "--name-only", "--no-renames", "--full-history", "-m")
        range_ = (self._required(ref), f"^{self._required(since)}")
        try:
            output = self.commands.run("log", *options, *range_, "--", folder, max_bytes=max_bytes)
        except OutputTooLarge:
            return None
        return set(output.decode("utf-8", "backslashreplace").split("\0"))

    def filtered(self, root: Path, paths: Sequence[str], attributes: Sequence[str]) -> list[str]:
        """The `paths` in work tree `root` that have any of the git `attributes` set."""
        output = self.commands.run(
            f"--work-tree={root.absolute()}",
            "check-attr",
            "-z",
            "--stdin",
            *attributes,
            stdin="".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape"),
        )
        words = iter(output.decode("utf-8", "surrogateescape").split("\0"))
        found = [
            path
            for path, _, value in zip(words, words, words, strict=False)
            if value not in ("unspecified", "unset")
        ]
        return list(dict.fromkeys(found))

    def verify_commit(self, commit: str, policy: SignaturePolicy) -> str | None:
        """The signer of the commit that the policy accepts; None without such a signature.

        Raises KeyringUnusable when the policy cannot be applied.
        """
        output = self.commands.run(
            "log",
            "--max-count=1",
            "--format=%G?%x00%GF%x00%GS",
            self._required(commit),
            "--",
            settings=policy.settings(),
            environment=policy.environment(),
        )
        status, fingerprint, signer = output.decode("utf-8", "replace").strip().split("\0", 2)
        return policy.signer(Verification(status, fingerprint, signer))

    def _required(self, ref: str) -> str:
        found = self.resolve(ref)
        if found is None:
            raise GitError(f"unknown commit {strip_url(ref)[:100]}", place=self.place)
        return found


_DIFF = ("-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--ignore-submodules=none")


def _folders(prefixes: Sequence[str]) -> list[str]:
    return [prefix.rstrip("/") for prefix in prefixes if prefix.rstrip("/")]
