"""Commits by plumbing: what is written reaches the remote once, whoever else writes (I6)."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guildnet.errors import GitError, GitUnavailable, PushRejected, RefNotFound
from guildnet.git import BranchWriter, Credentials, Identity, Mirror, SshSigners


def writer_of(remote: Any, folder: Path, **identity: Any) -> BranchWriter:
    mirror = Mirror.open(str(remote.path), folder)
    return BranchWriter(mirror, "status", identity=Identity(**identity) if identity else None)


@pytest.fixture
def writer(remote: Any, tmp_path: Path) -> Any:
    made = writer_of(remote, tmp_path / "one")
    yield made
    made.mirror.close()


@pytest.fixture
def other(remote: Any, tmp_path: Path) -> Any:
    made = writer_of(remote, tmp_path / "two")
    yield made
    made.mirror.close()


def test_two_that_make_the_root_at_once_agree_on_one(
    remote: Any, writer: BranchWriter, tmp_path: Path
) -> None:
    """I6: also a second apart, and under two names. The commit is dated when it was made."""
    files = {"README.md": b"Written by GuildNet.\n"}
    began = int(time.time())
    root = writer.create_root(files, "status branch")
    assert began <= writer.mirror.commit_info(root).when.timestamp() <= time.time()
    other = writer_of(remote, tmp_path / "two", name="Another")
    assert other.create_root(files, "status branch") == root == other.tip == other.pushed
    assert remote.files("status") == {"README.md": "Written by GuildNet."}
    assert remote.history("status") == ["status branch"]
    with pytest.raises(PushRejected):
        other.create_root({"README.md": b"else"}, "status branch")
    writer.commit({"orgs/acme/org.json": b"{}"}, "one")
    writer.push()
    with pytest.raises(PushRejected):
        other.create_root(files, "status branch")
    other.mirror.close()


def test_commits_reach_the_remote(remote: Any, writer: BranchWriter) -> None:
    root = writer.create_root({"keep": b"1"}, "root")
    first = writer.commit({"orgs/acme/org.json": b"{}\n", "orgs/x": b""}, "one\n\nSource: 1\n")
    assert writer.waits
    assert remote.tip("status") == root
    assert writer.push() == first == remote.tip("status") == writer.pushed
    assert not writer.waits
    writer.commit({"orgs/acme/org.json": None, "orgs/x": b"2"}, "two")
    writer.push()
    assert remote.files("status") == {"keep": "1", "orgs/x": "2"}
    assert remote.history("status") == ["two", "one", "root"]
    assert writer.mirror.commit_info(first).trailer_values("source") == ("1",)
    assert remote.git("fsck", "--strict", at=remote.path) == ""


def test_the_same_state_makes_no_commit(remote: Any, writer: BranchWriter) -> None:
    """I4: writing again what is there makes neither a commit nor a request."""
    tip = writer.create_root({"a": b"1", "d/b": b"2"}, "root")
    remote.path.rename(remote.path.with_suffix(".away"))
    assert writer.commit({"a": b"1", "d/b": b"2", "gone": None}, "again") == tip
    assert writer.push() == tip


def test_a_file_takes_the_place_of_a_folder(remote: Any, writer: BranchWriter) -> None:
    writer.create_root({"a/b": b"1", "c": b"2"}, "root")
    writer.commit({"a/b": None, "a": b"file", "c": None, "c/d": b"folder"}, "swap")
    writer.push()
    assert remote.files("status") == {"a": "file", "c/d": "folder"}


def test_names_and_bytes_come_out_as_they_went_in(remote: Any, writer: BranchWriter) -> None:
    content = bytes(range(256)) * 10
    writer.create_root({}, "root")
    writer.commit({'a "b"\\c\nü': content}, "strange")
    writer.push()
    assert writer.mirror.show(writer.pushed or "", 'a "b"\\c\nü', max_bytes=9999) is None
    (blob,) = writer.mirror.index(writer.pushed or "").values()
    assert list(writer.mirror.read_blobs([blob], max_bytes=9999)) == [(blob, 2560, content)]


@pytest.mark.parametrize("path", ["/a", "a//b", "../a", "a/../b", ".git/config", "a/.GIT/x", ""])
def test_paths_stay_under_the_root(writer: BranchWriter, path: str) -> None:
    """I9: no path leaves the tree."""
    writer.create_root({}, "root")
    with pytest.raises(GitError):
        writer.commit({path: b"x"}, "escape")


def test_two_writers_lose_nothing(remote: Any, writer: BranchWriter, other: BranchWriter) -> None:
    """I6: what was written on an older tip is replayed on the newer one."""
    writer.create_root({"shared": b"1"}, "root")
    other.sync()
    writer.commit({"orgs/acme/a": b"1"}, "acme one")
    writer.commit({"orgs/acme/b": b"2"}, "acme two\n\nSource-Revision: abc")
    other.commit({"orgs/beta/a": b"3", "shared": None}, "beta")
    other.push()
    writer.push()
    assert remote.files("status") == {"orgs/acme/a": "1", "orgs/acme/b": "2", "orgs/beta/a": "3"}
    assert remote.history("status") == ["acme two", "acme one", "beta", "root"]
    info = writer.mirror.commit_info(remote.tip("status"))
    assert info.trailer_values("Source-Revision") == ("abc",)


def test_many_writers_at_once(remote: Any, tmp_path: Path) -> None:
    """I6: writers in threads of their own, all pushing: each file arrives, history is a line."""
    first = writer_of(remote, tmp_path / "first")
    first.create_root({}, "root")
    first.mirror.close()
    failures: list[BaseException] = []

    def work(name: str) -> None:
        mine = writer_of(remote, tmp_path / name)
        try:
            mine.sync()
            for number in range(4):
                mine.commit({f"orgs/{name}/{number}": b"x"}, f"{name} {number}")
                mine.push()
        except BaseException as error:
            failures.append(error)
        finally:
            mine.mirror.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert sorted(remote.files("status")) == [f"orgs/{n}/{i}" for n in "abc" for i in range(4)]
    assert len(remote.history("status")) == 13
    assert remote.git("rev-list", "--merges", "status", at=remote.path) == ""


def test_what_waits_survives_an_outage_and_a_crash(remote: Any, tmp_path: Path) -> None:
    """I6: commits that could not be pushed are on disk, and pushed by whoever opens it next."""
    before = writer_of(remote, tmp_path / "one")
    before.create_root({}, "root")
    away = remote.path.with_suffix(".away")
    remote.path.rename(away)
    for number in range(3):
        before.commit({f"orgs/acme/{number}": b"x"}, f"commit {number}")
        with pytest.raises(GitUnavailable):
            before.push()
    before.mirror.close()
    away.rename(remote.path)
    after = writer_of(remote, tmp_path / "one")
    assert after.waits
    after.push()
    after.mirror.close()
    assert sorted(remote.files("status")) == [f"orgs/acme/{number}" for number in range(3)]
    assert remote.history("status") == ["commit 2", "commit 1", "commit 0", "root"]


def test_a_push_whose_answer_was_lost_is_not_doubled(remote: Any, writer: BranchWriter) -> None:
    """I6: the remote took the commit, the writer never heard of it: nothing is written twice."""
    root = writer.create_root({}, "root")
    tip = writer.commit({"a": b"1"}, "one")
    writer.mirror.push(tip, "status", expected=root)
    assert writer.pushed == root
    assert writer.push() == tip
    assert remote.history("status") == ["one", "root"]


def test_a_long_outage_is_replayed_as_one(
    remote: Any, writer: BranchWriter, other: BranchWriter
) -> None:
    writer.create_root({}, "root")
    other.sync()
    for number in range(25):
        writer.commit({"orgs/acme/a": b"%d" % number, f"orgs/acme/{number}": b"x"}, f"n {number}")
    other.commit({"orgs/beta": b"1"}, "beta")
    other.push()
    writer.push()
    assert remote.history("status") == ["n 24", "beta", "root"]
    assert remote.files("status")["orgs/acme/a"] == "24"
    assert len(remote.files("status")) == 27


def test_a_rewritten_branch_is_held(remote: Any, writer: BranchWriter) -> None:
    """I6: the branch only moves forward; one that moved back is not written until accepted."""
    root = writer.create_root({}, "root")
    writer.commit({"a": b"1"}, "one")
    good = writer.push()
    remote.git("update-ref", "refs/heads/status", root, at=remote.path)
    writer.commit({"b": b"2"}, "two")
    with pytest.raises(PushRejected, match="rewritten") as held:
        writer.push()
    assert good in (held.value.cure or "")
    assert remote.tip("status") == root
    remote.git("update-ref", "refs/heads/status", good, at=remote.path)
    writer.push()
    assert remote.files("status") == {"a": "1", "b": "2"}


def test_a_rewritten_branch_can_be_accepted(remote: Any, writer: BranchWriter) -> None:
    root = writer.create_root({}, "root")
    writer.commit({"a": b"1"}, "one")
    writer.push()
    remote.git("update-ref", "refs/heads/status", root, at=remote.path)
    writer.commit({"b": b"2"}, "two")
    writer.sync(accept_rewritten=True)
    writer.push()
    assert "b" in remote.files("status")


def test_a_branch_that_is_gone_is_not_made_again(remote: Any, writer: BranchWriter) -> None:
    """I6: a person must decide about a deleted branch; unpushed commits are kept."""
    writer.create_root({}, "root")
    writer.commit({"a": b"1"}, "one")
    remote.git("update-ref", "-d", "refs/heads/status", at=remote.path)
    with pytest.raises(RefNotFound):
        writer.push()
    assert writer.waits
    assert writer.mirror.ls_remote(["refs/heads/status"]) == {}


def test_a_rejected_push_keeps_the_message_of_the_remote(remote: Any, writer: BranchWriter) -> None:
    """I10: the hook's own words reach whoever looks."""
    writer.create_root({}, "root")
    hook = remote.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'status is protected'\nexit 1\n")
    hook.chmod(0o755)
    writer.commit({"a": b"1"}, "one")
    with pytest.raises(PushRejected, match="status is protected"):
        writer.push()
    hook.unlink()
    writer.push()
    assert remote.files("status") == {"a": "1"}


def test_an_unexpected_tip_stops_a_commit(writer: BranchWriter) -> None:
    with pytest.raises(RefNotFound):
        writer.commit({"a": b"1"}, "too early")
    root = writer.create_root({}, "root")
    tip = writer.commit({"a": b"1"}, "one", expected=root)
    with pytest.raises(PushRejected):
        writer.commit({"a": b"2"}, "two", expected=root)
    assert writer.tip == tip


def test_no_branch_yet(remote: Any, writer: BranchWriter) -> None:
    remote.commit({"a": "1"})
    assert (writer.tip, writer.pushed, writer.waits) == (None, None, False)
    for call in (writer.sync, writer.push):
        with pytest.raises(RefNotFound):
            call()


def test_commits_are_signed_when_a_key_is_given(remote: Any, tmp_path: Path) -> None:
    key = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"bot@example.com {key.with_suffix('.pub').read_text()}")
    writer = writer_of(remote, tmp_path / "one", name="Bot", email="b@e.x", signing_key=key)
    with writer.mirror as mirror:
        writer.create_root({}, "root")
        tip = writer.commit({"a": b"1"}, "signed\n\nSource-Revision: x")
        assert writer.push() == tip
        assert mirror.verify_commit(tip, SshSigners(signers)) == "bot@example.com"
        info = mirror.commit_info(tip)
        assert (info.author, info.subject) == ("Bot <b@e.x>", "signed")
        assert info.trailer_values("Source-Revision") == ("x",)


def test_over_http(git_server: Any, make_remote: Callable[[str], Any], tmp_path: Path) -> None:
    remote = make_remote("pushed")
    remote.git("config", "http.receivepack", "true", at=remote.path)
    url = f"{git_server.url}/pushed.git"
    ours = Credentials(password=git_server.password)
    with Mirror.open(url, tmp_path / "http", credentials=ours) as mirror:
        writer = BranchWriter(mirror, "status")
        writer.create_root({}, "root")
        writer.commit({"a": b"1"}, "one")
        writer.push()
    assert remote.files("status") == {"a": "1"}
