"""A state repository with a Talos cluster, and the real talosctl on PATH; no machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: acme}
spec:
  cluster: {kubeconfig: acme, namespace: agents}
  agent: {command: [sh, -c, "true"]}
  talos:
    endpoint: https://127.0.0.77:6443
    version: v1.13.0
    kubernetesVersion: v1.36.2
    controlPlanes: [127.0.0.77]
    workers: [127.0.0.78, 127.0.0.79]
"""


@dataclass(frozen=True)
class Ran:
    """The exit code and output of a run of the command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Checkout:
    """A state repository, and the command run in it."""

    root: Path
    state: Path
    path: str

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def org(self, *lines: str) -> None:
        """Write the org's file, with more lines of spec.talos."""
        self.write("orgs/acme.yaml", ORG + "".join(f"    {line}\n" for line in lines))

    def guildnet(self, *arguments: str, environment: Sequence[tuple[str, str]] = ()) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "guildnet_cli.main", *arguments],
            cwd=self.root,
            env={**os.environ, "PATH": self.path, **dict(environment)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def private_files(self) -> dict[str, bytes]:
        """The files of the org in the state directory, by their paths."""
        root = self.state / "talos" / "acme"
        files = {str(p.relative_to(root)): p for p in root.rglob("*") if p.is_file()}
        open_to_others = [name for name, p in files.items() if p.stat().st_mode & 0o077]
        assert open_to_others == []
        assert not root.stat().st_mode & 0o077
        return {name: path.read_bytes() for name, path in files.items()}


@pytest.fixture(scope="session")
def talosctl() -> Path:
    """The real program, compiled. Where the cache has none it would take minutes."""
    from guildnet_devcluster import components
    from guildnet_devcluster.progress import progress_to

    if not components.is_built("talos"):
        pytest.skip("talosctl is not compiled: `guildnet devcluster up NAME --talos` does it")
    return components.ensure("talos", progress_to()) / "talosctl"


@pytest.fixture
def checkout(tmp_path: Path, talosctl: Path) -> Checkout:
    root = tmp_path / "repository"
    (root / "orgs").mkdir(parents=True)
    made = Checkout(
        root, Path(os.environ["GUILDNET_STATE_DIR"]), f"{talosctl.parent}:{os.environ['PATH']}"
    )
    made.org()
    return made


@pytest.fixture
def another_talosctl(tmp_path: Path) -> Callable[[str], Path]:
    """A program that says it is talosctl of another version; it can do nothing else."""

    def make(version: str) -> Path:
        program = tmp_path / "bin" / "talosctl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho 'Client:'\necho 'Talos {version}'\n")
        program.chmod(0o755)
        return program.parent

    return make
