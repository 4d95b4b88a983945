"""Locks between processes: builds, and commands for one cluster, run one at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from guildnet_devcluster.build_cache import exclusive

HOLDING = """
import sys
from pathlib import Path
from guildnet_devcluster.build_cache import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_is_exclusive_and_released_when_its_holder_is_killed(tmp_path: Path) -> None:
    """A killed build leaves nothing locked."""
    lock = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDING, str(lock)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as second:
            assert second.stdout is not None
            assert second.poll() is None
            first.kill()
            assert second.stdout.readline() == "held\n"


def test_the_holder_may_delete_the_lock_file(tmp_path: Path) -> None:
    """`down` deletes its lock file; a waiting process then locks the new file."""
    lock = tmp_path / "lock"
    with exclusive(lock):
        lock.unlink()
    with exclusive(lock):
        assert lock.exists()
