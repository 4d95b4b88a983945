"""A fetch may take as long as it makes progress, up to a bound; one that is silent is ended."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import GitUnavailable
from guildnet.git import Credentials, Mirror
from guildnet.git.process import CommandFailed, CommandTimedOut

if TYPE_CHECKING:
    from tests.functional.core.conftest import Remote

# An ssh whose answers come in pieces, slowly.
SLOW_SSH = """#!/bin/sh
for command; do :; done
sh -c "$command" | "{python}" -u -c '
import sys, time
while piece := sys.stdin.buffer.read1(65536):
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    time.sleep({seconds})
'
"""
REPORTS = "for n in 1 2 3 4 5 6; do printf 'Receiving objects: %s%%\\r' $n >&2; sleep 0.4; done"
SECOND = timedelta(seconds=1)


@pytest.fixture
def mirror(remote: Remote, tmp_path: Path) -> Mirror:
    with Mirror.open(str(remote.path), tmp_path / "mirror") as opened:
        return opened


def run(mirror: Mirror, script: str, timeout: timedelta, longest: timedelta | None) -> None:
    mirror.commands.run("-c", f"alias.try=!{script}", "try", timeout=timeout, longest=longest)


def test_progress_is_waited_for_up_to_a_bound(mirror: Mirror) -> None:
    run(mirror, REPORTS, SECOND, 60 * SECOND)
    with pytest.raises(CommandTimedOut, match=r"did not finish within 1\.5 s"):
        run(mirror, REPORTS, SECOND, 1.5 * SECOND)
    with pytest.raises(CommandTimedOut, match="did not finish within 1 s"):
        run(mirror, REPORTS, SECOND, None)
    with pytest.raises(CommandTimedOut, match="made no progress for 1 s"):
        run(mirror, "echo begun >&2; sleep 60", SECOND, 60 * SECOND)


def test_reports_of_progress_are_not_reasons(mirror: Mirror) -> None:
    """Nor do they push the reason out of what is kept."""
    reports = "for n in $(seq 2000); do printf 'Receiving objects: %s%%, 12 MiB\\r' $n >&2; done"
    done = "printf 'remote: Total 3 (delta 0), reused 0\\nReceiving objects: 100%%, done.\\n' >&2"
    with pytest.raises(CommandFailed) as failed:
        run(mirror, f"{reports}; {done}; echo 'fatal: the reason' >&2; exit 1", 60 * SECOND, None)
    assert failed.value.stderr == "fatal: the reason\n"


def test_a_push_of_much_does_not_stop_the_branch_for_ever(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3: everything that is committed after it stands behind it."""
    tip = remote.commit({"tasks/acme/big.yaml": os.urandom(2 * 1024 * 1024)})
    fake = tmp_path / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text(SLOW_SSH.format(python=sys.executable, seconds=0.2))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("guildnet.git.mirror.REMOTE_TIMEOUT", 3 * SECOND)
    url = f"ssh://git@host.example{remote.path}"
    with Mirror.open(url, tmp_path / "slow", credentials=Credentials()) as mirror:
        assert mirror.fetch(["main"]) == {"main": tip}
    monkeypatch.setattr("guildnet.git.mirror.LONGEST_FETCH", 3 * SECOND)
    with (
        Mirror.open(url, tmp_path / "cut", credentials=Credentials()) as mirror,
        pytest.raises(GitUnavailable, match="git fetch did not finish within 3 s"),
    ):
        mirror.fetch(["main"])
