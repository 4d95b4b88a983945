"""A user's checkout, handled by the user's own git with its configuration and credentials.

This is the opposite of `guildnet.git.process`, which isolates git from whoever runs it and works
on bare mirrors. GitPython passes the whole environment on to git, which is what a command in a
checkout needs. It is imported only when git runs: `guildnet validate` works without git.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from guildnet.errors import (
    ConfigurationError,
    GitError,
    GitUnavailable,
    PushRejected,
    RefNotFound,
)
from guildnet.git.refs import remote_ref, tracking_ref
from guildnet.redact import strip_urls

TIMEOUT = timedelta(seconds=120)
_MAX_MESSAGE_CHARACTERS = 4_000


class CheckoutCommandFailed(GitError):
    """git exited with `status`; `stderr` is its own message."""

    def __init__(self, verb: str, *, status: int, stderr: str, place: str) -> None:
        reason = strip_urls(stderr.strip())[:_MAX_MESSAGE_CHARACTERS] or f"exit status {status}"
        super().__init__(f"git {verb}: {reason}", place=place)
        self.status = status
        self.stderr = stderr


@dataclass(frozen=True, slots=True)
class Checkout:
    """The checkout that folder `root` is in, or becomes by `init`.

    Each method raises CheckoutCommandFailed with git's own message when git refuses (a checkout
    that another user owns, a hook that rejects a commit), GitError when git takes longer than
    `TIMEOUT`, and ConfigurationError when git is not installed.
    """

    root: Path

    def init(self) -> None:
        """Create a repository on branch main, unless the folder is one already."""
        if not (self.root / ".git").exists():
            self._run("init", "--quiet", "--initial-branch=main")

    def top_level(self) -> Path | None:
        """The root of the work tree around the folder; None outside a work tree."""
        try:
            return Path(self._run("rev-parse", "--show-toplevel"))
        except CheckoutCommandFailed as error:
            if error.stderr.startswith("fatal: not a git repository"):
                return None
            raise

    def revision(self, name: str) -> str | None:
        """The commit that `name` resolves to; None when git does not know the name."""
        try:
            return self._run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        except CheckoutCommandFailed as error:
            # With --quiet, git prints nothing for an unknown name, and only then.
            if error.status == 1 and not error.stderr.strip():
                return None
            raise

    def has_parents(self, commit: str) -> bool:
        """Whether the commit names a parent, also when a shallow clone does not contain it."""
        headers = self._run("cat-file", "commit", commit).partition("\n\n")[0]
        return any(line.startswith("parent ") for line in headers.splitlines())

    def head(self) -> str:
        """The commit that is checked out; ConfigurationError before the first commit."""
        found = self.revision("HEAD")
        if found is None:
            raise ConfigurationError(
                "the repository has no commit yet",
                place=str(self.root),
                cure="Commit and push first.",
            )
        return found

    def commit(self, paths: Sequence[str], message: str) -> str:
        """Commit exactly `paths` (relative to the root) and return the new commit's id.

        Other changes, staged ones included, stay out of the commit.
        """
        self._run("add", "--", *paths)
        self._run("commit", "--quiet", "--message", message, "--", *paths)
        return self._run("rev-parse", "HEAD")

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Detach HEAD for the block, so that its commits are on no branch; then switch back."""
        try:
            before = ["--quiet", self._run("symbolic-ref", "--quiet", "--short", "HEAD")]
        except CheckoutCommandFailed:
            before = ["--quiet", "--detach", self.head()]
        self.head()
        self._run("switch", "--quiet", "--detach")
        try:
            yield
        finally:
            self._run("switch", *before)

    def create_branch(self, name: str, commit: str) -> str:
        """Create a branch at `commit` without an upstream; return its name."""
        self._run("branch", "--no-track", name, commit)
        return name

    def has_origin(self) -> bool:
        """Whether the checkout has a remote called origin."""
        return "origin" in self._run("remote").split()

    def origin_url(self) -> str | None:
        """The URL that origin is fetched from; None without an origin."""
        return self._run("remote", "get-url", "origin") if self.has_origin() else None

    def upstream_branch(self) -> str | None:
        """The branch of origin that the current branch follows; None without one."""
        try:
            found = self._run("rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
        except CheckoutCommandFailed:
            return None
        remote, _, branch = found.partition("/")
        return branch if remote == "origin" else None

    def fetch(self, branch: str) -> str:
        """Fetch origin's `branch`; return the full name of its remote-tracking ref.

        Raises RefNotFound when origin has no such branch, GitUnavailable when the fetch fails.
        """
        tracking = tracking_ref(branch)
        try:
            self._run("fetch", "--quiet", "origin", f"+{remote_ref(branch)}:{tracking}")
        except CheckoutCommandFailed as error:
            if "couldn't find remote ref" in error.stderr:
                raise RefNotFound(f"origin has no branch {branch}", place=str(self.root)) from error
            raise GitUnavailable(
                error.message,
                place=str(self.root),
                cure="Check the connection to origin with `git fetch`.",
            ) from error
        return tracking

    def push(self) -> None:
        """Push the current branch to its upstream. Raises PushRejected with git's message."""
        try:
            self._run("push", "--quiet")
        except GitError as error:
            raise PushRejected(
                error.message,
                place=str(self.root),
                cure="The commit exists in this checkout; pull and push again, or open a pull "
                "request from a branch.",
            ) from error

    def push_branch(self, branch: str) -> None:
        """Push a branch to origin and follow it there. Raises PushRejected with git's message."""
        try:
            self._run("push", "--quiet", "--set-upstream", "origin", branch)
        except GitError as error:
            raise PushRejected(
                error.message,
                place=str(self.root),
                cure=f"The commit is on branch {branch} of this checkout; push that branch once "
                "origin accepts it.",
            ) from error

    def stored_password(self, url: str) -> str | None:
        """The password or token that git's credential helpers hold for the host of `url`."""
        parsed = urlsplit(url if "://" in url else f"ssh://{url.replace(':', '/', 1)}")
        host = parsed.netloc.rpartition("@")[2]
        protocol = "http" if parsed.scheme == "http" else "https"
        try:
            answer = self._run("credential", "fill", stdin=f"protocol={protocol}\nhost={host}\n\n")
        except CheckoutCommandFailed:
            return None
        fields = dict(line.partition("=")[::2] for line in answer.splitlines())
        return fields.get("password")

    def _run(self, *arguments: str, stdin: str = "") -> str:
        """Standard output of `git ARGUMENTS` in the root, without its last newline."""
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # no git: an error when git is run
        import git

        place = str(self.root)
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode())
            given.seek(0)
            try:
                status, stdout, stderr = git.Git().execute(
                    # GitPython drops a working directory that it cannot enter; -C reports it.
                    ["git", "-C", place, *arguments],
                    istream=given,
                    with_extended_output=True,
                    with_exceptions=False,
                    stdout_as_string=False,
                    kill_after_timeout=TIMEOUT.total_seconds(),
                    env={"GIT_TERMINAL_PROMPT": "0"},
                )
            except git.GitCommandNotFound as error:
                raise ConfigurationError("git is not installed", cure="Install git.") from error
        if status < 0:
            seconds = f"{TIMEOUT.total_seconds():.0f} s"
            message = f"git {arguments[0]} was killed or took longer than {seconds}"
            raise GitError(message, place=place)
        if status != 0:
            message = _text(stderr) or _text(stdout)
            raise CheckoutCommandFailed(arguments[0], status=status, stderr=message, place=place)
        return _text(stdout)


def _text(output: str | bytes) -> str:
    """Output that can be printed: GitPython keeps bytes that are not UTF-8 as surrogates."""
    if isinstance(output, str):
        output = output.encode(errors="surrogateescape")
    return output.decode(errors="replace")
