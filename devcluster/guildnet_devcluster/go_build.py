"""Runs `go build` and counts the compiled packages to report progress."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .progress import StepProgress

_CACHED = "not installed but available in build cache"
_STALE = f'{{{{if and .Stale (ne .StaleReason "{_CACHED}")}}}}{{{{.ImportPath}}}}{{{{end}}}}'
_KEPT_LINES = 40


class BuildFailed(Exception):
    """`go build` failed; the message is the end of its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The parameters of one `go build`."""

    go: Path
    module: Path
    environment: Mapping[str, str]
    flags: Sequence[str]
    packages: Sequence[str]


@dataclass(slots=True)
class BuildOutput:
    """Parses the output of `go build -v`: package names are counted, other lines are kept."""

    expected: frozenset[str]
    compiled: set[str] = field(default_factory=set)
    messages: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))

    def add_line(self, line: str) -> bool:
        """Parse a line; return whether it names a compiled package."""
        name = line.strip()
        if name in self.expected:
            self.compiled.add(name)
            return True
        self.messages.append(line.rstrip())
        return False


def stale_packages(build: Build) -> frozenset[str]:
    """The packages that `build` will compile; empty if they cannot be determined."""
    command = [str(build.go), "list", "-deps", *build.flags, "-f", _STALE, *build.packages]
    listed = subprocess.run(
        command,
        cwd=build.module,
        env=build.environment,
        capture_output=True,
        check=False,
        text=True,
    )
    return frozenset(listed.stdout.split()) if listed.returncode == 0 else frozenset()


def compile_to(build: Build, output: Path, step: StepProgress) -> None:
    """Compile to `output` and report progress to `step`. Raises BuildFailed."""
    found = BuildOutput(stale_packages(build))
    command = [str(build.go), "build", "-v", *build.flags, "-o", str(output), *build.packages]
    with subprocess.Popen(
        command,
        cwd=build.module,
        env=build.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        _count(process.stderr, found, step)
    if process.returncode != 0:
        raise BuildFailed("\n".join(found.messages).strip())


def _count(lines: Iterable[str], found: BuildOutput, step: StepProgress) -> None:
    if found.expected:
        step.count(0, len(found.expected), "packages")
    for line in lines:
        if found.add_line(line):
            step.count(len(found.compiled), len(found.expected), "packages")
