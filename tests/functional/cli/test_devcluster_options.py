"""Options of `guildnet devcluster up` that contradict each other are refused at once."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from guildnet_cli.main import app


@pytest.mark.parametrize(
    "options",
    [
        ("--talos", "--no-node"),
        ("--workers", "1"),
        ("--maintenance",),
        ("--talos", "--workers", "8"),
    ],
)
def test_contradicting_options_are_refused(options: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["devcluster", "up", "lab", *options])
    assert done.exit_code == 2
    assert "--talos" in done.output or "--workers" in done.output
