"""The supervisor's bare repositories: fetch from a remote, import a bundle, push one branch.

They have no work tree and no hooks, and use no configuration other than ours.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from guildnet.errors import GitError, GitUnavailable, PushRejected
from guildnet.git.failures import Cause, cause_of, servers_words
from guildnet.labels import RUN_TRAILER
from guildnet_agent.supervisor.git.bundle import BundleRefused, read_head
from guildnet_agent.supervisor.git.credentials import Credentials
from guildnet_agent.supervisor.git.pack_limits import PackRefused, measure
from guildnet_agent.supervisor.git.process import GitFailed, GitRunner


class BranchMoved(PushRejected):
    """The branch has commits that are not in the history of the pushed commit."""


# The message is the same whether our git or the server's refuses to create the branch.
_IN_THE_WAY = re.compile(
    r"cannot lock ref '[^']+': 'refs/heads/(?P<branch>[^']+)' exists; "
    r"cannot create 'refs/heads/(?P<wanted>[^']+)'"
)


@dataclass(frozen=True)
class RemoteRefs:
    """The output of ``ls-remote``: ref name to commit; ``head``: the default branch's ref."""

    refs: Mapping[str, str]
    head: str | None

    def branch(self, name: str) -> str | None:
        return self.refs.get(f"refs/heads/{name}")

    def tag(self, name: str) -> str | None:
        """The commit of a tag; an annotated tag is dereferenced."""
        return self.refs.get(f"refs/tags/{name}^{{}}") or self.refs.get(f"refs/tags/{name}")


def parse_ls_remote(text: str) -> RemoteRefs:
    refs: dict[str, str] = {}
    head = None
    for line in text.splitlines():
        left, _, name = line.partition("\t")
        if left.startswith("ref: ") and name == "HEAD":
            head = left.removeprefix("ref: ")
        elif name:
            refs[name] = left
    return RemoteRefs(refs, head)


class BareRepository:
    """One bare repository on disk."""

    def __init__(self, path: Path, runner: GitRunner) -> None:
        self.path = path
        self._runner = runner

    async def create(self) -> None:
        """Create the repository if it does not exist."""
        if not (self.path / "HEAD").exists():
            self.path.mkdir(parents=True, exist_ok=True)
            await self._git("init", "--quiet", "--bare")

    async def list_remote(self, remote: Credentials, names: Sequence[str]) -> RemoteRefs:
        """List the remote's default branch, and the branches and tags in ``names`` that exist."""
        patterns = [
            pattern
            for name in names
            for pattern in (f"refs/heads/{name}", f"refs/tags/{name}", f"refs/tags/{name}^{{}}")
        ]
        arguments = ("ls-remote", "--symref", "--", remote.url, "HEAD", *patterns)
        return parse_ls_remote(await self._git(*arguments, remote=remote))

    async def fetch(
        self, remote: Credentials, refspecs: Sequence[str], depth: int | None = None
    ) -> None:
        bound = [f"--depth={depth}"] if depth else []
        arguments = ["fetch", "--quiet", "--force", "--no-write-fetch-head", *bound]
        await self._git(*arguments, "--", remote.url, *refspecs, remote=remote)

    async def fetch_commit(self, remote: Credentials, commit: str) -> None:
        """Fetch a commit by its id; into a shallow repository, without its history."""
        await self.fetch(remote, [commit], 1 if (self.path / "shallow").exists() else None)

    async def has_commit(self, commit: str) -> bool:
        return await self._succeeds("cat-file", "-e", f"{commit}^{{commit}}")

    async def resolve(self, name: str) -> str:
        """The commit that a ref points to. GitError if there is none."""
        return (await self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")).strip()

    async def set_ref(self, name: str, commit: str) -> None:
        await self._git("update-ref", name, commit)

    async def delete_ref(self, name: str) -> None:
        await self._git("update-ref", "-d", name)

    async def is_ancestor(self, older: str, newer: str) -> bool:
        return await self._succeeds("merge-base", "--is-ancestor", older, newer)

    async def trailers(self, commit: str, key: str) -> list[str]:
        """The values of a commit's trailers with this key."""
        layout = f"--format=%(trailers:key={key},valueonly)"
        text = await self._git("log", "--max-count=1", layout, commit)
        return [line for line in text.splitlines() if line]

    async def borrow(self, path: Path) -> BareRepository:
        """Create an empty repository at ``path`` that uses this one's objects as alternates.

        Objects imported there are not added to this repository.
        """
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        borrower = BareRepository(path, self._runner)
        await borrower.create()
        (path / "objects" / "info" / "alternates").write_text(f"{self.path / 'objects'}\n")
        if (self.path / "shallow").exists():
            shutil.copyfile(self.path / "shallow", path / "shallow")
        return borrower

    async def names_run(self, since: str, tip: str, trailer: str) -> bool:
        """Whether one of the newest 200 commits in ``since..tip`` has the run's trailer."""
        layout = f"--format=%(trailers:key={RUN_TRAILER},valueonly)"
        text = await self._git("log", "--max-count=200", layout, f"{since}..{tip}")
        return trailer in text.splitlines()

    async def take_bundle(self, bundle: Path, name: str, max_bytes: int) -> str:
        """Import the ref ``name`` of a bundle, checking every object. Return its commit.

        GitError if it unpacks to more than ``max_bytes``, or fails git's strict checks.
        """
        pack, commit = await asyncio.to_thread(_open_pack, bundle, name, max_bytes)
        with pack:
            arguments = ("index-pack", "--stdin", "--fix-thin", "--strict")
            await self._runner.run(*arguments, folder=self.path, stdin=pack)
        return await self.resolve(commit)

    async def check_links(self, commit: str, since: str) -> None:
        """Raise GitError if an object is missing between ``since`` and ``commit``."""
        await self._git("rev-list", "--quiet", "--objects", commit, "--not", since)

    async def push(self, remote: Credentials, commit: str, branch: str) -> None:
        """Push exactly one branch, never forced. BranchMoved, PushRejected or GitUnavailable."""
        await self._push(remote, f"{commit}:refs/heads/{branch}", branch)

    async def replace_branch(
        self, remote: Credentials, commit: str | None, branch: str, expected: str | None
    ) -> None:
        """Move a branch that belongs to GuildNet to another commit, or delete it (None), if it is
        still at the commit ``expected``. PushRejected or GitUnavailable."""
        name = f"refs/heads/{branch}"
        lease = f"--force-with-lease={name}:{expected or ''}"
        await self._push(remote, f"{commit or ''}:{name}", branch, lease)

    async def _push(self, remote: Credentials, refspec: str, branch: str, *options: str) -> None:
        try:
            await self._git("push", "--quiet", *options, "--", remote.url, refspec, remote=remote)
        except GitUnavailable:
            raise
        except GitFailed as error:
            kind = BranchMoved if cause_of(error.said) is Cause.MOVED else PushRejected
            cure = error.cure or push_cure(error.said)
            raise kind(error.message, place=f"branch {branch}", cure=cure) from error

    async def _succeeds(self, *arguments: str) -> bool:
        try:
            await self._git(*arguments)
        except GitError:
            return False
        return True

    async def _git(self, *arguments: str, remote: Credentials | None = None) -> str:
        return await self._runner.run(*arguments, folder=self.path, credentials=remote)


def _open_pack(bundle: Path, name: str, max_bytes: int) -> tuple[BinaryIO, str]:
    """The bundle's file, positioned at its pack, and the commit of its ref ``name``."""
    file = open(bundle, "rb")  # noqa: SIM115 - the caller closes it
    try:
        head = read_head(file)
        commit = head.refs.get(name)
        if commit is None:
            raise BundleRefused(f"the bundle has no {name}")
        file.seek(head.pack_offset)
        measure(file, max_bytes)
    except (BundleRefused, PackRefused) as error:
        file.close()
        raise GitError(str(error)) from error
    # The child process reads from the position of the descriptor, not of the Python file.
    os.lseek(file.fileno(), head.pack_offset, os.SEEK_SET)
    return file, commit


def remove_stale_locks(folder: Path) -> None:
    """Remove lock files that a killed supervisor's git left in the repositories of a folder.

    Call it only while no git of ours runs.
    """
    for repository in folder.glob("*.git"):
        for lock in repository.rglob("*.lock"):
            lock.unlink(missing_ok=True)


def push_cure(said: str) -> str:
    """How a person can fix a refused push, from git's error output."""
    if conflict := _IN_THE_WAY.search(said):
        return (
            f"git cannot have a branch {conflict['wanted']} beside the branch "
            f"{conflict['branch']}: rename or delete that one, then rerun the task"
        )
    cause = cause_of(said)
    if cause is Cause.CREDENTIAL:
        return "give the git Secret's token or key the right to push"
    if cause is Cause.MOVED:
        return "somebody else moved the branch: merge or delete it, then rerun the task"
    if servers_words(said):
        return "the server's message says why: change that, then rerun the task"
    return "let the forge accept branches with the prefix guildnet/"
