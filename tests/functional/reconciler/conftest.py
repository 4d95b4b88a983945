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

    def git(self, *args: str, at: Path | None = None, words: str = "") -> str:
        command = ["git", "-C", str(at or self.work), *args]
        done = subprocess.run(command, check=True, capture_output=True, text=True, input=words)
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str], message: str = "change") -> str:
        for path, content in files.items():
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text(content)
        self.git("add", "-A")
        words = self.work.parent / "message"
        words.write_text(message)
        self.git("commit", "-q", "--allow-empty", "-F", str(words))
        self.git("push", "-q", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def graft(self, folder: str, entries: str) -> str:
        """Commit `folder` with what `git mktree` makes of the lines `entries` beside what it has:
        trees that no work tree could hold. The commit's id."""
        tree = self._tree(self.git("ls-tree", f"HEAD:{folder}") + "\n" + entries)
        while folder:
            folder, _, name = folder.rpartition("/")
            listed = self.git("ls-tree", f"HEAD:{folder}").splitlines()
            others = [line for line in listed if not line.endswith(f"\t{name}")]
            tree = self._tree("\n".join([*others, f"040000 tree {tree}\t{name}"]))
        commit = self.git("commit-tree", tree, "-p", "HEAD", "-m", "graft")
        self.git("push", "-q", "origin", f"{commit}:main")
        self.git("reset", "-q", "--soft", commit)
        return commit

    def bomb(self, depth: int) -> str:
        """The id of a tree that names 10 to the power of `depth` files."""
        blob = self.git("hash-object", "-w", "--stdin", words="x")
        kind, oid = "100644 blob", blob
        for _ in range(depth):
            oid = self._tree("\n".join(f"{kind} {oid}\tn{n}.yaml" for n in range(10)))
            kind = "040000 tree"
        return oid

    def _tree(self, lines: str) -> str:
        return self.git("mktree", words=lines.strip("\n") + "\n" if lines.strip() else "")

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
