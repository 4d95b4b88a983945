"""An admin of an org with Talos machines: a checkout, a state directory, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guildnet_devcluster.talos import patches
from guildnet_devcluster.talos.site import Site

PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Ran:
    """The exit code and output of a run of the command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Admin:
    """Runs `guildnet` in `checkout`, with a state directory and a talosctl of its own."""

    lab: Site
    checkout: Path
    state: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        folders = (self.lab.talosctl.parent, Path(sys.executable).parent)
        return {
            **os.environ,
            **self.variables,
            "GUILDNET_STATE_DIR": str(self.state),
            "PATH": ":".join([*map(str, folders), os.environ["PATH"]]),
        }

    @property
    def talosconfig(self) -> Path:
        return self.state / "talos/acme/talosconfig"

    def write(self, name: str, text: str) -> None:
        file = self.checkout / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def patch_options(self) -> list[str]:
        """The options of `org create` for what this host's machines require."""
        folder = self.state.with_name(f"{self.state.name}-patches")
        folder.mkdir(exist_ok=True)
        given = [
            ("all", self.lab.patches.all),
            ("controlplane", self.lab.patches.control_plane),
        ]
        for machine in self.lab.machines:
            file = folder / f"{machine.name}.yaml"
            file.write_text(json.dumps(patches.for_machine(machine)))
            given.append((machine.address, file))
        copied: list[str] = []
        for target, source in given:
            file = folder / source.name.replace(".patch", "")
            file.write_bytes(source.read_bytes())
            copied += ["--patch", f"{target}={file}"]
        return copied

    def create(self, *more: str) -> list[str]:
        """The arguments of `org create` for all machines of the site."""
        workers = [word for each in self.lab.workers for word in ("--worker", each.address)]
        return [
            *("org", "create", "acme", "--talos"),
            *("--control-plane", self.lab.control_plane.address, *workers),
            *("--talos-version", f"v{self.lab.talos_version}"),
            *("--kubernetes-version", f"v{self.lab.kubernetes_version}"),
            *self.patch_options(),
            *more,
        ]

    def guildnet(self, *arguments: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "guildnet_cli.main", *arguments],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str) -> Any:
        """What a verb that must succeed prints with -o json."""
        done = self.guildnet(*arguments, "-o", "json")
        assert done.code == 0, done.err + done.out
        return json.loads(done.out)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A run of the command; it is killed if the block ends before it does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "guildnet_cli.main", *arguments],
            cwd=self.checkout,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def kill_when(self, says: str, *arguments: str) -> list[str]:
        """Run the command and kill it as soon as it prints a line with these words; what it printed
        until then."""
        lines: list[str] = []
        with self.running(*arguments) as process:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if says in line:
                    return lines
        raise AssertionError(f"{says!r} was never printed:\n{''.join(lines)}")

    def talosctl(self, *arguments: str, machine: str | None = None) -> str:
        """The output of talosctl, asked by hand."""
        address = machine or self.lab.control_plane.address
        done = subprocess.run(
            [str(self.lab.talosctl), *arguments, "--nodes", address, "--endpoints", address],
            env={**self.environment, "TALOSCONFIG": str(self.talosconfig)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)
