"""Programs of this checkout, and those of the release before, built from its commit."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.changelog import ROOT, is_in_this_clone, release_before

PACKAGES = ("core", "reconciler", "operator", "agent", "dashboard", "devcluster", "cli")
# Agents are served at a port of the test's instead of each pod's own.
PROGRAM = (
    "import os, guildnet_operator.agents.client as client\n"
    "client.AGENT_PORT = int(os.environ.get('TEST_AGENT_PORT', 0))\n"
    "from guildnet_cli.main import main\n"
    "main()\n"
)


@dataclass(frozen=True, slots=True)
class Version:
    """The `guildnet` command of the source tree `root`, with the packages of this interpreter."""

    root: Path

    def run(self, *arguments: str) -> str:
        """Its standard output; it must succeed."""
        done = self.call(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(
        self, *arguments: str, text: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Its exit code and output, with `text` on standard input."""
        return subprocess.run(
            self._command(arguments),
            env=self.environment() | environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: str, log: Path, **environment: str) -> Iterator[None]:
        """It runs until the block ends, and then stops as its pod would at an upgrade."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                self._command(arguments),
                env=self.environment() | environment,
                stdout=output,
                stderr=output,
            )
        try:
            yield
            assert process.poll() is None, f"{arguments[0]} exited: {log.read_text()}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            finally:
                process.kill()

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-c", PROGRAM, *arguments]

    def environment(self) -> dict[str, str]:
        """Variables with which this interpreter imports the packages of the tree."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(str(self.root / p) for p in PACKAGES)}


THIS = Version(ROOT)


def build_release_before(folder: Path) -> Version:
    """The release before in `folder`; skips where its commit is not in this clone."""
    release = release_before()
    if not is_in_this_clone(release.commit):
        pytest.skip(f"{release.version} ({release.commit}) is not in this clone")
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", release.commit, *PACKAGES],
        check=True,
        capture_output=True,
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    made = Version(folder)
    assert made.run("--version") == f"guildnet {release.version}\n"
    return made
