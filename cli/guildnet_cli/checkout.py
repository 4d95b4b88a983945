"""A person's own checkout of the state repository: found, committed in, pushed.

By the `git` command with the person's identity, hooks and credentials; the services never use
this, they work on bare mirrors of `guildnet.git`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from guildnet.errors import (
    ConfigurationError,
    GitError,
    GitUnavailable,
    PushRejected,
    RefNotFound,
)
from guildnet.redact import strip_urls

_TIMEOUT_SECONDS = 120


def init_repository(folder: Path) -> None:
    """Make `folder` a git repository on branch main, unless it is one."""
    if not (folder / ".git").exists():
        _git(folder, "init", "--quiet", "--initial-branch=main")


def commit(root: Path, paths: Sequence[str], message: str) -> str:
    """Commit exactly `paths` (relative to `root`); the new commit's id. Other changes stay out."""
    _git(root, "add", "--", *paths)
    _git(root, "commit", "--quiet", "--message", message, "--", *paths)
    return _git(root, "rev-parse", "HEAD").strip()


def push(root: Path) -> None:
    """Push the current branch to where it goes; PushRejected says why not."""
    try:
        _git(root, "push", "--quiet")
    except GitError as error:
        raise PushRejected(
            error.message,
            place=str(root),
            cure="The commit is made; pull and push again, or open a pull request from a branch.",
        ) from error


def push_branch(root: Path, branch: str) -> None:
    """Push a branch of its own to origin; PushRejected says why not."""
    try:
        _git(root, "push", "--quiet", "--set-upstream", "origin", branch)
    except GitError as error:
        raise PushRejected(
            error.message,
            place=str(root),
            cure=f"The commit is on branch {branch} here: push that once origin takes it.",
        ) from error


@contextmanager
def detached(root: Path) -> Iterator[None]:
    """Commits made within are on no branch; afterwards the checkout is where it was."""
    try:
        before = ["--quiet", _git(root, "symbolic-ref", "--quiet", "--short", "HEAD").strip()]
    except GitError:
        before = ["--quiet", "--detach", head(root)]
    head(root)
    _git(root, "switch", "--quiet", "--detach")
    try:
        yield
    finally:
        _git(root, "switch", *before)


def make_branch(root: Path, name: str, commit: str) -> str:
    """A new branch at `commit`; its name."""
    _git(root, "branch", "--no-track", name, commit)
    return name


def head(root: Path) -> str:
    """The commit that is checked out; ConfigurationError before the first one."""
    found = _revision(root, "HEAD")
    if found is None:
        raise ConfigurationError(
            "nothing is committed here yet", place=str(root), cure="Commit and push first."
        )
    return found


def upstream_branch(root: Path) -> str | None:
    """The branch of origin that the current one follows; None where there is none."""
    try:
        found = _git(root, "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
    except GitError:
        return None
    remote, _, branch = found.strip().partition("/")
    return branch if remote == "origin" else None


def origin_url(root: Path) -> str | None:
    """Where origin is fetched from; None without one."""
    return _git(root, "remote", "get-url", "origin").strip() if has_origin(root) else None


def remembered_password(root: Path, url: str) -> str | None:
    """The password or token that git's credential helpers have for the host of `url`."""
    asked = url if "://" in url else f"ssh://{url.replace(':', '/', 1)}"
    host = urlsplit(asked).netloc.rpartition("@")[2]
    protocol = "http" if url.startswith("http://") else "https"
    try:
        told = _git(root, "credential", "fill", text=f"protocol={protocol}\nhost={host}\n\n")
    except GitError:
        return None
    return next(
        (line.removeprefix("password=") for line in told.splitlines() if "password=" in line), None
    )


def fetch(root: Path, branch: str) -> str:
    """Bring the checkout's copy of origin's `branch` up to date; the full name of that copy.

    Raises RefNotFound when origin has no such branch, GitUnavailable when it gives no answer.
    """
    copy = f"refs/remotes/origin/{branch}"
    try:
        _git(root, "fetch", "--quiet", "origin", f"+refs/heads/{branch}:{copy}")
    except GitError as error:
        if "couldn't find remote ref" in error.message:
            raise RefNotFound(f"origin has no branch {branch}", place=str(root)) from error
        raise GitUnavailable(
            error.message, place=str(root), cure="Check the way to origin with `git fetch`."
        ) from error
    return copy


def default_base(root: Path, to_rev: str) -> str | None:
    """What a plan for `to_rev` compares with: origin/main where that is another commit, else the
    commit before; None for a first commit.

    Raises RefNotFound for an unknown revision, ConfigurationError where the commit before is not
    in this clone: everything would look new.
    """
    target = _revision(root, to_rev)
    if target is None:
        raise RefNotFound(f"there is no revision {to_rev}", place=str(root))
    for candidate in ("origin/main", f"{to_rev}~1"):
        found = _revision(root, candidate)
        if found is not None and found != target:
            return candidate
    headers = _git(root, "cat-file", "commit", target).partition("\n\n")[0]
    if any(line.startswith("parent ") for line in headers.splitlines()):
        raise ConfigurationError(
            f"the commit before {to_rev} is not in this shallow clone, so there is nothing to "
            "compare with",
            place=str(root),
            cure="Fetch more history (`git fetch --unshallow`; `fetch-depth: 0` in CI), or name a "
            "revision with --from.",
        )
    return None


def is_unborn(root: Path) -> bool:
    """Whether nothing is committed on the current branch yet."""
    return _revision(root, "HEAD") is None


def _revision(root: Path, name: str) -> str | None:
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    except _Refused as error:
        # With --quiet git says nothing of a name that it does not know, and only then.
        if error.status == 1 and not error.stderr.strip():
            return None
        raise


def has_origin(folder: Path) -> bool:
    """Whether the checkout has a remote called origin."""
    return "origin" in _git(folder, "remote").split()


def root_of(folder: Path) -> Path | None:
    """The top of the work tree that `folder` is in; None outside of any.

    Raises GitError where git refuses to look, such as at a checkout of another user.
    """
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    except _Refused as error:
        if error.stderr.startswith("fatal: not a git repository"):
            return None
        raise


class _Refused(GitError):
    """git ended with an error: `status`, and `stderr` as it said it."""

    def __init__(self, verb: str, status: int, stderr: str, place: str) -> None:
        said = strip_urls(stderr.strip()) or f"exit {status}"
        super().__init__(f"git {verb}: {said}", place=place)
        self.status = status
        self.stderr = stderr


def _git(folder: Path, *arguments: str, text: str = "") -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            input=text,
            env={**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        )
    except FileNotFoundError as error:
        raise ConfigurationError("git is not installed", cure="Install git.") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {arguments[0]} took too long", place=str(folder)) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr or error.stdout
        raise _Refused(arguments[0], error.returncode, said, str(folder)) from error
    return done.stdout
