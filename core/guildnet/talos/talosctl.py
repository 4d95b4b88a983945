"""Runs `talosctl`: finds it, checks its version, and maps its failures to the error tree.

Secrets reach it by files alone, never by arguments. What it prints about a failure can repeat keys
of the files that it read, so every message goes through a redactor.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from guildnet.errors import ConfigurationError, TalosRefused, TalosUnavailable
from guildnet.redact import Redactor
from guildnet.talos.process import Finished, Interruption, run_bounded
from guildnet.talos.versions import same_minor
from guildnet.text import clean_text

LOCAL_TIMEOUT = timedelta(seconds=60)
CALL_TIMEOUT = timedelta(seconds=20)
"""For one question to one machine; a machine that is down gives no answer at all."""
MAX_OUTPUT_BYTES = 4 * 1024 * 1024
_MAX_SHOWN = 600
_VERSION = re.compile(r"^\s*(?:Tag:|Talos)\s+(v\d+\.\d+\.\d+)\S*\s*$", re.MULTILINE)
_PASSED_ON = (
    *("PATH", "TMPDIR", "LD_LIBRARY_PATH"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
)
_UNANSWERED = (
    "code = Unavailable",
    "code = DeadlineExceeded",
    "connection refused",
    "no route to host",
    "i/o timeout",
    "context deadline exceeded",
)
_FOREIGN = ("certificate signed by unknown authority", "certificate is not trusted", "x509: ")


@dataclass(frozen=True, slots=True)
class Talosctl:
    """A `talosctl` program. `home` is a private folder that stands in for the user's home, so that
    no configuration of the user's takes part."""

    program: str
    home: Path
    talosconfig: Path | None = None
    redact: Redactor = field(default=Redactor(()), repr=False)
    interruption: Interruption | None = field(default=None, repr=False)

    @classmethod
    def find(cls, version: str, home: Path, interruption: Interruption | None = None) -> Talosctl:
        """The program on PATH, of the same minor version as `version` (`v1.13.0`).

        Raises ConfigurationError where it is missing or of another version.
        """
        cure = (
            f"Install talosctl {version}: "
            f"https://github.com/siderolabs/talos/releases/tag/{version} has it for each system."
        )
        program = shutil.which("talosctl")
        if program is None:
            raise ConfigurationError("talosctl is not on PATH", cure=cure)
        found = cls(program, home, interruption=interruption)
        installed = found.version()
        if not same_minor(installed, version):
            raise ConfigurationError(
                f"talosctl {installed} does not fit the machines' Talos {version}",
                place=program,
                cure=cure,
            )
        return found

    def version(self) -> str:
        """The program's own version, such as `v1.13.0`."""
        said = self.run("version", "--client", "--short", timeout=LOCAL_TIMEOUT)
        found = _VERSION.search(said)
        if found is None:
            raise ConfigurationError("talosctl does not say its version", place=self.program)
        return found[1]

    def knowing(self, redact: Redactor, talosconfig: Path | None = None) -> Talosctl:
        """The same program for one cluster: its secrets, and the client's credentials."""
        return replace(self, redact=redact, talosconfig=talosconfig or self.talosconfig)

    def run(
        self, *arguments: str, timeout: timedelta = CALL_TIMEOUT, machine: str | None = None
    ) -> str:
        """Run it and return its standard output, unredacted.

        Raises TalosUnavailable or TalosRefused; their place is the `machine`.
        """
        done = self.finished(*arguments, timeout=timeout)
        if done.timed_out or done.status != 0:
            raise self.failure(done, arguments[0], timeout, machine)
        if done.is_cut:
            message = f"talosctl {arguments[0]} printed more than {MAX_OUTPUT_BYTES:,} bytes"
            raise TalosRefused(message, place=machine)
        return done.stdout.decode("utf-8", "replace")

    def finished(
        self,
        *arguments: str,
        timeout: timedelta = CALL_TIMEOUT,
        progress: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run it to its end, whatever that is. `progress` gets its lines, redacted."""

        def report(line: str) -> None:
            if progress is not None and line.strip():
                progress(self.redact.message(clean_text(line, _MAX_SHOWN)))

        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {"HOME": str(self.home), "LC_ALL": "C"}
        # Without a file of its own it would read one of the user's.
        environment["TALOSCONFIG"] = str(self.talosconfig or self.home / "none")
        try:
            return run_bounded(
                [self.program, *arguments],
                environment=environment,
                timeout=timeout,
                max_bytes=MAX_OUTPUT_BYTES,
                on_line=report if progress is not None else None,
                interruption=self.interruption,
            )
        except OSError as error:
            raise ConfigurationError(
                f"talosctl cannot be started: {error.strerror}", place=self.program
            ) from error

    def failure(
        self, done: Finished, verb: str, timeout: timedelta, machine: str | None = None
    ) -> TalosUnavailable | TalosRefused:
        """The error for a run that failed."""
        if done.timed_out:
            seconds = timeout.total_seconds()
            return TalosUnavailable(f"no answer within {seconds:g} s ({verb})", place=machine)
        said = self.redact.message(done.stderr.decode("utf-8", "replace"))
        message = f"talosctl {verb}: {shown(said)}"
        if any(word in said for word in _FOREIGN):
            return TalosRefused(message, place=machine, is_foreign=True)
        if any(word in said for word in _UNANSWERED):
            return TalosUnavailable(message, place=machine)
        return TalosRefused(message, place=machine)


def shown(said: str) -> str:
    """What talosctl said on standard error, on one line and without its usage text."""
    lines = clean_text(said, 16 * 1024).partition("\nUsage:")[0].splitlines()
    words = "; ".join(line.strip() for line in lines if line.strip())
    return words[:_MAX_SHOWN] or "no message"


def at_machine(address: str) -> Sequence[str]:
    """The arguments that direct a call to one machine, through no other."""
    return ("--nodes", address, "--endpoints", address)
