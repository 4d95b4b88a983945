"""I6: a second reconciler or dashboard in the same state folder does not start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from guildnet.state_folder import FolderLock, private_folder

GUILDNET = Path(sys.executable).with_name("guildnet")


@pytest.mark.parametrize(
    ("verb", "lock"),
    [
        (["reconciler", "--once"], "reconciler.lock"),
        (["reconciler", "--listen", "127.0.0.1:0", "--org", "acme"], "reconciler.lock"),
        (["dashboard", "--listen", "127.0.0.1:0"], "dashboard/dashboard.lock"),
    ],
)
def test_the_error_names_the_process_that_uses_the_folder(
    tmp_path: Path, verb: list[str], lock: str
) -> None:
    """I10: which process and what to do, before anything is read or written."""
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    state = tmp_path / "state"
    private_folder((state / lock).parent)
    held = FolderLock(state / lock, f"the {verb[0]}")
    try:
        done = subprocess.run(
            [GUILDNET, *verb, "--repo", str(repository)],
            env={**os.environ, "GUILDNET_STATE_DIR": str(state)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        held.close()
    assert done.returncode == 1
    assert f"the {verb[0]} (PID {os.getpid()} on " in done.stderr
    assert "stop it" in done.stderr
    assert not list(state.rglob("HEAD"))
