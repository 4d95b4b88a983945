"""Runs git without the host's configuration, with limits on time and output, and without prompts.

Only processes are handled here; the callers know what their commands mean.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from guildnet.errors import ConfigurationError, GitError
from guildnet.git.failures import Cause, cause_of
from guildnet.git.location import SCHEMES
from guildnet.redact import Redactor

LOCAL_TIMEOUT = timedelta(seconds=60)
REMOTE_TIMEOUT = timedelta(seconds=120)
MAX_OUTPUT_BYTES = 256 * 1024 * 1024
MAX_ERROR_BYTES = 16 * 1024
_CHUNK = 256 * 1024
KNOWS_NOTHING = Redactor(())
DAMAGED_CURE = (
    "look at this folder with `git fsck`; a mirror that GuildNet made can be moved away while the "
    "service is stopped: it is fetched again from the remote"
)


# How a site is reached and which authorities this machine trusts are the machine's to say.
_PASSED_ON = (
    *("PATH", "TMPDIR", "LD_LIBRARY_PATH"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
)


# What `--progress` adds to the error output of a fetch.
_PROGRESS = re.compile(
    rb"(remote: )?(Enumerating|Counting|Compressing|Receiving|Resolving|Unpacking|Checking)"
    rb" (objects|deltas|connectivity): |remote: Total \d+ \(delta |From \S+$"
    rb"| [*+=t-] \[| {3}[0-9a-f]+\.\.[0-9a-f]+ "
)


class CommandFailed(GitError):
    """git exited with an error; `stdout` and `stderr` are its output, redacted and bounded."""

    def __init__(
        self,
        verb: str,
        *,
        status: int,
        stdout: str,
        stderr: str,
        place: str,
        git_dir: Path | None = None,
    ) -> None:
        super().__init__(f"git {verb} failed: {first_words(stderr)}", place=place)
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        match cause_of(stderr):
            case Cause.DISK_FULL:
                self.cure = "free space on the disk that holds the state directory"
            case Cause.DAMAGED:
                self.place = str(git_dir or place)
                self.cure = DAMAGED_CURE


class OutputTooLarge(GitError):
    """git wrote more output than its caller reads, and was killed."""


class CommandTimedOut(GitError):
    """git did not finish in time, and was killed."""


def first_words(stderr: str) -> str:
    """git's error output in one line of at most 500 characters."""
    lines = [line.strip() for line in stderr.splitlines()]
    errors = [line for line in lines if line and not line.startswith(("hint:", "warning:"))]
    text = "; ".join(line.removeprefix("fatal: ").removeprefix("error: ") for line in errors[:6])
    return text[:500] or "without a message"


def isolated_environment(git_dir: Path) -> dict[str, str]:
    """All of the environment that git gets: `git_dir`, and nothing of the user's home, keyrings,
    agents and configuration nor of the machine's settings of git, whatever this process was
    started with (from inside of a hook, for instance)."""
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "HOME": str(git_dir),
        "XDG_CONFIG_HOME": str(git_dir),
        "GNUPGHOME": str(git_dir / "no-keyring"),
        "LANGUAGE": "C",
        "LC_ALL": "C",
        "GIT_DIR": str(git_dir),
        "GIT_OBJECT_DIRECTORY": str(git_dir / "objects"),
        "GIT_INDEX_FILE": str(git_dir / "index"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES),
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
    }


def configured(settings: Mapping[str, str]) -> dict[str, str]:
    """git configuration as environment variables, which no other user of the machine can read."""
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found


class IsolatedGit:
    """Runs git commands on one bare repository. Safe from several threads."""

    def __init__(self, git_dir: Path, place: str) -> None:
        self.git_dir = git_dir
        self.place = place
        self._environment = isolated_environment(git_dir)

    def run(
        self,
        *args: str,
        stdin: bytes = b"",
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: timedelta = LOCAL_TIMEOUT,
        longest: timedelta | None = None,
        max_bytes: int = MAX_OUTPUT_BYTES,
        redact: Redactor = KNOWS_NOTHING,
    ) -> bytes:
        """Run `git ARGS` and return its standard output.

        Raises CommandFailed with output cleaned by `redact`, CommandTimedOut, OutputTooLarge when
        git writes more than `max_bytes`, and ConfigurationError when git is not installed.

        With `longest`, `timeout` limits the time without progress, and `longest` the whole run.
        """
        extra = {**configured(settings or {}), **(environment or {})}
        process = self.start(*args, environment=extra, with_input=bool(stdin))
        errors = _Drain(process.stderr)
        with _ended_after(process, timeout, longest or timeout, errors) as overdue:
            feeder = _feed(process, stdin)
            output = _read_bounded(process, max_bytes)
            status = process.wait()
            feeder.join()
            stderr = redact.message(errors.text())
        verb = args[0]
        if overdue.is_set():
            raise CommandTimedOut(f"git {verb} {overdue.words}", place=self.place)
        if output is None:
            raise OutputTooLarge(f"git {verb} wrote more than {max_bytes} bytes", place=self.place)
        if status != 0:
            said = redact.message(output[:MAX_ERROR_BYTES].decode("utf-8", "replace"))
            raise CommandFailed(
                verb,
                status=status,
                stdout=said,
                stderr=stderr,
                place=self.place,
                git_dir=self.git_dir,
            )
        return output

    def start(
        self, *args: str, environment: Mapping[str, str] | None = None, with_input: bool = True
    ) -> subprocess.Popen[bytes]:
        """Start git with its three streams open; the caller ends it with `end`."""
        try:
            return subprocess.Popen(
                ["git", *args],
                cwd=self.git_dir.parent,
                env={**self._environment, **(environment or {})},
                stdin=subprocess.PIPE if with_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                umask=0o077,
            )
        except OSError as error:
            if isinstance(error, FileNotFoundError) and error.filename == "git":
                raise ConfigurationError("git is not installed", cure="install git") from error
            raise GitError(f"git cannot be started: {error}", place=self.place) from error


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill git and its children (a transport, ssh), and close its streams."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


@contextlib.contextmanager
def _ended_after(
    process: subprocess.Popen[bytes], timeout: timedelta, longest: timedelta, errors: _Drain
) -> Iterator[_Deadline]:
    deadline = _Deadline(process, timeout, longest, errors)
    try:
        yield deadline
    finally:
        deadline.close()
        end(process)


class _Deadline:
    """Kills a process that reports no progress for `timeout`, or runs for `longest`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        timeout: timedelta,
        longest: timedelta,
        errors: _Drain,
    ) -> None:
        self.words = ""
        self._process, self._errors = process, errors
        self._timeout, self._left = timeout.total_seconds(), longest.total_seconds()
        self._longest = self._left
        self._received = 0
        self._guard = threading.Lock()
        self._timer: threading.Timer | None = None
        self._wait()

    def is_set(self) -> bool:
        """Whether the process was ended."""
        return bool(self.words)

    def close(self) -> None:
        with self._guard:
            self._left = 0.0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _wait(self) -> None:
        seconds = min(self._timeout, self._left)
        self._left -= seconds
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        with self._guard:
            if self._timer is None:
                return  # closed meanwhile
            received = self._errors.received
            if received > self._received and self._left > 0:
                self._received = received
                self._wait()
                return
            is_silent = self._left > 0
            seconds = self._timeout if is_silent else self._longest
            self.words = (
                f"made no progress for {seconds:g} s"
                if is_silent
                else f"did not finish within {seconds:g} s"
            )
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _feed(process: subprocess.Popen[bytes], data: bytes) -> threading.Thread:
    def write() -> None:
        stream = cast("IO[bytes]", process.stdin)
        with contextlib.suppress(OSError):
            stream.write(data)
        with contextlib.suppress(OSError):
            stream.close()

    thread = threading.Thread(target=write if process.stdin is not None else lambda: None)
    thread.daemon = True
    thread.start()
    return thread


def _read_bounded(process: subprocess.Popen[bytes], max_bytes: int) -> bytes | None:
    stream = cast("IO[bytes]", process.stdout)
    parts: list[bytes] = []
    total = 0
    while chunk := stream.read(_CHUNK):
        total += len(chunk)
        if total > max_bytes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            return None
        parts.append(chunk)
    return b"".join(parts)


class _Drain:
    """Reads git's error output in a thread and keeps the first of it, without progress reports."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self.received = 0
        self._stream = cast("BufferedReader", stream)
        self._kept = b""
        self._line = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := self._stream.read1(4096):
                self.received += len(chunk)
                self._take(chunk)
        self._keep(self._line)

    def _take(self, chunk: bytes) -> None:
        *lines, rest = (self._line + chunk).split(b"\n")
        for line in lines:
            self._keep(line + b"\n")
        # Text before a carriage return is overwritten by the text after it.
        self._line = rest.rpartition(b"\r")[2][-MAX_ERROR_BYTES:]

    def _keep(self, line: bytes) -> None:
        shown = line.rstrip(b"\r\n").rpartition(b"\r")[2]
        if shown and not _PROGRESS.match(shown):
            self._kept += (shown + b"\n")[: max(0, MAX_ERROR_BYTES - len(self._kept))]

    def text(self) -> str:
        self._thread.join()
        return self._kept.decode("utf-8", "replace")
