"""The real command, run as a process, and a state repository for each test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

GOOD_ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: acme}
spec:
  cluster: {kubeconfig: acme, namespace: agents}
  agent:
    command: [sh, -c, "true"]
"""
GOOD_TASK = """\
# What this is for.
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {name: NAME}
spec:
  prompt: Do it.  # in earnest
"""


@dataclass(frozen=True)
class Ran:
    """The exit code and output of a run of the command."""

    code: int
    out: str
    err: str


Guildnet = Callable[..., Ran]


@pytest.fixture
def guildnet(tmp_path: Path) -> Guildnet:
    """Run `guildnet ARGS` in `cwd` (default: tmp_path) with `text` on standard input."""

    def run(*arguments: str, cwd: Path | None = None, text: str = "") -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "guildnet_cli.main", *arguments],
            cwd=cwd or tmp_path,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@dataclass(frozen=True)
class StateRepository:
    """A checkout of a state repository with org acme, committed."""

    root: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout

    def write(self, files: Mapping[str, str | None]) -> None:
        for path, text in files.items():
            file = self.root / path
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)

    def commit(self, files: Mapping[str, str | None], message: str = "A change") -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    @staticmethod
    def task(name: str, prompt: str = "Do it.") -> str:
        """The text of a valid task's file."""
        return GOOD_TASK.replace("NAME", name).replace("Do it.", prompt)


@pytest.fixture
def state(tmp_path: Path) -> StateRepository:
    root = tmp_path / "state"
    root.mkdir()
    repository = StateRepository(root)
    repository.git("init", "--quiet", "--initial-branch=main")
    repository.commit({"orgs/acme.yaml": GOOD_ORG}, "An org")
    return repository
