"""I6, I8: one process uses a folder of the state directory, and only its owner can read it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import ConfigurationError, GitError
from guildnet.git import BranchWriter, Mirror
from guildnet.state_folder import FolderLock, private_folder, write_private
from guildnet_devcluster.build_cache import exclusive
from guildnet_devcluster.layout import Layout

if TYPE_CHECKING:
    from tests.functional.core.conftest import Remote

# Holds the lock until its standard input ends.
HOLDER = """
import sys
from pathlib import Path
from guildnet.state_folder import FolderLock
FolderLock(Path(sys.argv[1]), "the reconciler")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def others_may_see(root: Path) -> list[str]:
    return [str(path) for path in (root, *root.rglob("*")) if path.lstat().st_mode & 0o077]


@pytest.mark.usefixtures("open_umask")
def test_a_mirror_is_private_whatever_the_umask(remote: Remote, tmp_path: Path) -> None:
    remote.commit({"a": "x"})
    state = tmp_path / "state"
    with Mirror.open(str(remote.path), state / "mirrors" / "one.git") as mirror:
        mirror.fetch(["main"])
        BranchWriter(mirror, "status").create_root({"a": b"x"}, "begin")
        mirror.index_history()
    assert others_may_see(state) == []


@pytest.mark.usefixtures("open_umask")
def test_folders_and_files_of_ours_are_private(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o777)
    private_folder(tmp_path / "old")
    private_folder(tmp_path / "new" / "below")
    write_private(tmp_path / "new" / "file", b"1")
    write_private(tmp_path / "new" / "file", b"2")
    assert others_may_see(tmp_path / "old") == []
    assert others_may_see(tmp_path / "new") == []
    assert (tmp_path / "new" / "file").read_bytes() == b"2"


@pytest.mark.usefixtures("open_umask")
def test_a_devcluster_leaves_the_state_folder_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is the first that is put there."""
    state = tmp_path / "state"
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(state))
    layout = Layout.of("acme")
    with exclusive(layout.lock):
        private_folder(layout.data)
    assert others_may_see(state) == []


@contextmanager
def held_elsewhere(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder
        holder.kill()


def test_a_folder_in_use_is_refused_and_its_user_named(remote: Remote, tmp_path: Path) -> None:
    """I10: the process that has it, and what to do; a folder whose user was killed is free."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with held_elsewhere(folder / "guildnet.lock") as holder:
        with pytest.raises(ConfigurationError) as refused:
            Mirror.open(str(remote.path), folder)
        assert f"the reconciler (PID {holder.pid} on " in refused.value.message
        assert "GUILDNET_STATE_DIR" in (refused.value.cure or "")
    Mirror.open(str(remote.path), folder).close()


@pytest.mark.parametrize("content", [b"", b"\xff\x00 \n", b"1 host\n\x1b[31mred", b"x" * 9999])
def test_a_lock_without_a_readable_holder_still_holds(tmp_path: Path, content: bytes) -> None:
    """I9: whatever stands in the file is never shown as it is."""
    file = tmp_path / "lock"
    with held_elsewhere(file):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="another process uses this folder"):
            FolderLock(file, "the reconciler")


def test_one_process_may_open_its_folder_twice(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    first, second = FolderLock(file, "the reconciler"), FolderLock(file, "the reconciler")
    assert (first.is_first, second.is_first) == (True, False)
    for _ in range(2):
        first.close()
    asked = [sys.executable, "-c", HOLDER, str(file)]
    done = subprocess.run(asked, input=b"", capture_output=True, check=False)
    assert b"the reconciler (PID %d on " % os.getpid() in done.stderr
    second.close()
    assert subprocess.run(asked, input=b"", capture_output=True, check=False).returncode == 0


def test_a_ref_that_another_process_moved_is_not_overwritten(
    remote: Remote, tmp_path: Path
) -> None:
    """I6: what another process put there may be the only trace of a result."""
    first, second = remote.commit({"a": "1"}), remote.commit({"a": "2"})
    with Mirror.open(str(remote.path), tmp_path / "mirror") as mirror:
        mirror.fetch(["main"])
        mirror.move_ref("refs/heads/status", first, expected=None)
        for expected in (None, second):
            with pytest.raises(GitError, match="update-ref"):
                mirror.move_ref("refs/heads/status", second, expected=expected)
        found = mirror.lookup("refs/heads/status")
        assert found is not None
        assert found.id == first
        mirror.move_ref("refs/heads/status", second, expected=first)
