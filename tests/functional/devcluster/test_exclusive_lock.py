"""Locks between processes: builds and clusters of one name wait for each other."""

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


def test_a_lock_is_held_by_one_and_freed_by_its_holders_death(tmp_path: Path) -> None:
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


def test_a_holder_may_remove_the_lock(tmp_path: Path) -> None:
    """`down` leaves no file behind, and whoever waited locks the new one, not the removed one."""
    lock = tmp_path / "lock"
    with exclusive(lock):
        lock.unlink()
    with exclusive(lock):
        assert lock.exists()
