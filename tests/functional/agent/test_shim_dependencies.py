"""The work container needs Python and git, and nothing from a package registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_shim_is_standard_library_only() -> None:
    """A task's image needs only two of our folders, and no other package."""
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            "import guildnet_agent.shim.main, guildnet_agent.shim.checkpoint",
        ],
        env={"PYTHONPATH": f"{ROOT / 'core'}:{ROOT / 'agent'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
