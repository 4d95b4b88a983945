"""The Helm that the tests of the charts run, and what it renders."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from guildnet_devcluster.components import ensure, is_built
from guildnet_devcluster.progress import progress_to

CHARTS = Path(__file__).parents[1] / "deploy" / "charts"
OPERATOR_CHART, CONTROL_PLANE_CHART = CHARTS / "guildnet-operator", CHARTS / "guildnet"

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Helm:
    """`helm` with a home of the test's own; `kubeconfig` is the cluster of commands that need
    one."""

    program: Path
    home: Path
    kubeconfig: Path | None = None

    def call(
        self, *arguments: str, values: Values | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it; `values` are handed over as a file on standard input."""
        folders = {
            f"HELM_{kind}_HOME": str(self.home / kind) for kind in ("CACHE", "CONFIG", "DATA")
        }
        cluster = {"KUBECONFIG": str(self.kubeconfig or self.home / "none")}
        more = () if values is None else ("--values", "-")
        return subprocess.run(
            [str(self.program), *arguments, *more],
            env={**os.environ, **folders, **cluster},
            input=yaml.safe_dump(dict(values or {})),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def run(self, *arguments: str, values: Values | None = None) -> str:
        """Its standard output; it must succeed."""
        done = self.call(*arguments, values=values)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def template(self, chart: Path, values: Values, *, namespace: str) -> list[dict[str, Any]]:
        """The objects that the chart renders."""
        text = self.run("template", "rel", str(chart), "--namespace", namespace, values=values)
        return [obj for obj in yaml.safe_load_all(text) if obj]

    def refusal(self, chart: Path, values: Values) -> str:
        """Why the chart cannot be rendered with these values."""
        done = self.call("template", "rel", str(chart), values=values)
        assert done.returncode != 0, "rendered what had to be refused"
        return done.stderr


def program(name: str) -> Path:
    """A component of one program, built by `make test`; skips the test where it is missing."""
    if not is_built(name):
        pytest.skip(f"{name} is not in the cache: `make test` compiles it")
    return ensure(name, progress_to()) / name
