"""A bare state repository that commits can be pushed to, and settings that follow it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from guildnet_reconciler.settings import Settings

ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: acme}
spec:
  cluster: {kubeconfig: acme, namespace: agents}
  agent: {command: [sh, -c, "true"]}
"""


@dataclass
class Remote:
    """A bare remote and a work tree beside it."""

    path: Path
    work: Path

    def git(self, *args: str, at: Path | None = None) -> str:
        command = ["git", "-C", str(at or self.work), *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, files: Mapping[str, str], message: str = "change") -> str:
        for path, content in files.items():
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def status(self, path: str) -> Any:
        return json.loads(self.git("show", f"status:{path}", at=self.path))


@pytest.fixture
def remote(tmp_path: Path, own_surroundings: Path) -> Remote:
    path, work = tmp_path / "remote.git", tmp_path / "work"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    subprocess.run(["git", "-C", str(work), "remote", "add", "origin", str(path)], check=True)
    return Remote(path, work)


@pytest.fixture
def settings(remote: Remote, tmp_path: Path) -> Settings:
    return Settings(
        repo=str(remote.path),
        state_dir=tmp_path / "state",
        listen=None,
        status_interval=timedelta(milliseconds=50),
        retry=timedelta(milliseconds=100),
        once_deadline=timedelta(seconds=20),
    )
