"""A person's own checkout of the state repository: found, committed in, pushed.

By the `git` command with the person's identity, hooks and credentials; the services never use
this, they work on bare mirrors of `guildnet.git`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

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
    commit before; None for a first commit."""
    target = _revision(root, to_rev)
    for candidate in ("origin/main", f"{to_rev}~1"):
        found = _revision(root, candidate)
        if found is not None and found != target:
            return candidate
    return None


def _revision(root: Path, name: str) -> str | None:
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    except GitError:
        return None


def has_origin(folder: Path) -> bool:
    """Whether the checkout has a remote called origin."""
    return "origin" in _git(folder, "remote").split()


def root_of(folder: Path) -> Path | None:
    """The top of the work tree that `folder` is in; None outside of any."""
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    except (GitError, ConfigurationError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        )
    except FileNotFoundError as error:
        raise ConfigurationError("git is not installed", cure="Install git.") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {arguments[0]} took too long", place=str(folder)) from error
    except subprocess.CalledProcessError as error:
        said = strip_urls((error.stderr or error.stdout).strip()) or f"exit {error.returncode}"
        raise GitError(f"git {arguments[0]}: {said}", place=str(folder)) from error
    return done.stdout
