"""A mirror tells what a remote holds, and what differs, without a work tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from guildnet.errors import ConfigurationError, GitError, GitUnavailable, RefNotFound
from guildnet.git import Change, Credentials, Mirror, SshSigners, git_dir_of


@pytest.fixture
def mirror(remote: Any, tmp_path: Path) -> Iterator[Mirror]:
    with Mirror.open(str(remote.path), tmp_path / "state" / "mirror") as opened:
        yield opened


def test_fetch_index_and_blobs(remote: Any, mirror: Mirror) -> None:
    tip = remote.commit({"orgs/acme.yaml": "org", "tasks/acme/a.yaml": "task a", "README.md": "x"})
    assert mirror.fetch(["main"]) == {"main": tip}
    index = mirror.index("main", ["orgs", "tasks/"])
    assert sorted(index) == ["orgs/acme.yaml", "tasks/acme/a.yaml"]
    contents = {blob: data for blob, _, data in mirror.read_blobs(index.values(), max_bytes=100)}
    assert contents[index["tasks/acme/a.yaml"]] == b"task a"
    assert mirror.show(tip, "orgs/acme.yaml", max_bytes=10) == b"org"
    assert mirror.show(tip, "orgs", max_bytes=10) is None
    assert mirror.show(tip, "nowhere", max_bytes=10) is None


def test_diff_is_between_two_commits_under_the_folders_asked_for(
    remote: Any, mirror: Mirror
) -> None:
    """I5: a diff names what changed and nothing else."""
    old = remote.commit({"tasks/acme/a.yaml": "1", "tasks/acme/b.yaml": "2", "README.md": "x"})
    changed = {"tasks/acme/a.yaml": "1b", "tasks/acme/b.yaml": None, "tasks/acme/c.yaml": "2"}
    new = remote.commit({**changed, "README.md": "y"})
    mirror.fetch(["main"])
    blobs = mirror.index(new)
    assert sorted(mirror.diff(old, new, ["orgs", "tasks"]), key=lambda change: change.path) == [
        Change("tasks/acme/a.yaml", "M", "100644", blobs["tasks/acme/a.yaml"]),
        Change("tasks/acme/b.yaml", "D", "", ""),
        Change("tasks/acme/c.yaml", "A", "100644", blobs["tasks/acme/c.yaml"]),
    ]
    assert mirror.diff(new, new) == []


def test_links_and_submodules_are_named_and_never_indexed(remote: Any, mirror: Mirror) -> None:
    """I9: only regular files are ever read as resources."""
    (remote.work / "tasks").mkdir()
    (remote.work / "tasks" / "link.yaml").symlink_to("/etc/passwd")
    tip = remote.commit({"tasks/real.yaml": "x"})
    remote.git("update-index", "--add", "--cacheinfo", f"160000,{tip},tasks/sub.yaml")
    remote.git("commit", "-q", "-m", "submodule")
    remote.git("push", "-q", "origin", "HEAD:main")
    mirror.fetch(["main"])
    kinds = {entry.path: entry.kind for entry in mirror.entries("main", ["tasks"])}
    assert kinds == {
        "tasks/link.yaml": "symlink",
        "tasks/real.yaml": "file",
        "tasks/sub.yaml": "submodule",
    }
    assert list(mirror.index("main")) == ["tasks/real.yaml"]
    assert {change.kind for change in mirror.diff(tip, "main")} == {"submodule"}


def test_a_file_of_strange_name_breaks_nothing(remote: Any, mirror: Mirror) -> None:
    remote.commit({"tasks/a\nb.yaml": "1", 'tasks/"q".yaml': "2", "tasks/ü.yaml": "3"})
    bad = (str(remote.work).encode()) + b"/tasks/\xff.yaml"
    with open(bad, "wb") as file:
        file.write(b"4")
    remote.commit({})
    mirror.fetch(["main"])
    index = mirror.index("main", ["tasks"])
    assert sorted(index) == [
        'tasks/"q".yaml',
        "tasks/\\xff.yaml",
        "tasks/a\nb.yaml",
        "tasks/ü.yaml",
    ]
    contents = {data for _, _, data in mirror.read_blobs(index.values(), max_bytes=9)}
    assert contents == {b"1", b"2", b"3", b"4"}
    assert mirror.show("main", "tasks/ü.yaml", max_bytes=9) == b"3"
    assert mirror.show("main", "tasks/a\nb.yaml", max_bytes=9) is None
    assert mirror.show("main", "../etc/passwd", max_bytes=9) is None


def test_reads_are_bounded(remote: Any, mirror: Mirror) -> None:
    """I9: a blob larger than asked for is reported, not read."""
    remote.commit({"small": "1234", "large": "x" * 5_000_000})
    mirror.fetch(["main"])
    index = mirror.index("main")
    answers = list(mirror.read_blobs([index["large"], index["small"]] * 3, max_bytes=100))
    assert answers == [(index["large"], 5_000_000, None), (index["small"], 4, b"1234")] * 3
    with pytest.raises(GitError, match="5000000 bytes, more than 100"):
        mirror.show("main", "large", max_bytes=100)
    with pytest.raises(GitError, match="is not a blob"):
        list(mirror.read_blobs(["0" * 40], max_bytes=1))


def test_many_blobs_come_in_the_order_asked(remote: Any, mirror: Mirror) -> None:
    remote.commit({f"d{n % 7}/{n}": f"content {n}" * (n % 50) for n in range(900)})
    mirror.fetch(["main"])
    index = mirror.index("main")
    paths = sorted(index, reverse=True)
    read = mirror.read_blobs([index[path] for path in paths], max_bytes=10_000)
    for path, (blob, size, data) in zip(paths, read, strict=True):
        number = int(path.rpartition("/")[2])
        assert (blob, data) == (index[path], (f"content {number}" * (number % 50)).encode())
        assert size == len(data or b"")


def test_a_reader_that_died_is_started_again(remote: Any, mirror: Mirror) -> None:
    tip = remote.commit({"a": "1"})
    mirror.fetch(["main"])
    assert mirror.resolve("main") == tip
    process = mirror._objects._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(GitError):
        mirror.resolve("main")
    assert mirror.resolve("main") == tip


def test_a_missing_branch_is_not_an_unreachable_remote(
    remote: Any, mirror: Mirror, tmp_path: Path
) -> None:
    """I1: what could not be reached must never look like what is not there."""
    tip = remote.commit({"a": "1"})
    with pytest.raises(RefNotFound, match="status") as missing:
        mirror.fetch(["status", "main", "other"])
    assert "other" in str(missing.value)
    assert mirror.resolve("main") == tip
    remote.path.rename(tmp_path / "elsewhere")
    with pytest.raises(GitUnavailable):
        mirror.fetch(["main"])
    with pytest.raises(GitUnavailable):
        mirror.ls_remote(["refs/heads/*"])
    assert mirror.resolve("main") == tip


def test_ls_remote_answers_whole_names(remote: Any, mirror: Mirror) -> None:
    assert mirror.ls_remote(["refs/heads/main"]) == {}
    tip = remote.commit({"a": "1"})
    remote.git("push", "-q", "origin", "HEAD:refs/heads/x/refs/heads/main", "HEAD:refs/tags/v1")
    assert mirror.ls_remote(["refs/heads/main"]) == {"refs/heads/main": tip}
    assert mirror.ls_remote(["refs/tags/*"]) == {"refs/tags/v1": tip}


def test_tags_and_commits_can_be_followed(remote: Any, mirror: Mirror) -> None:
    first = remote.commit({"a": "1"})
    remote.git("push", "-q", "origin", "HEAD:refs/tags/v1")
    second = remote.commit({"a": "2"})
    assert mirror.fetch(["refs/tags/v1", second]) == {"refs/tags/v1": first, second: second}
    assert mirror.is_ancestor(first, second)
    assert not mirror.is_ancestor(second, first)
    assert not mirror.is_ancestor("0" * 40, second)


def test_rewritten_history_is_seen(remote: Any, mirror: Mirror) -> None:
    """I1: the mirror follows a force-push and keeps the old commit, so that it can be judged."""
    old = remote.commit({"a": "1"})
    mirror.fetch(["main"])
    remote.git("commit", "-q", "--amend", "-m", "rewritten")
    remote.git("push", "-q", "-f", "origin", "HEAD:main")
    new = mirror.fetch(["main"])["main"]
    assert new != old
    assert not mirror.is_ancestor(old, new)
    assert mirror.is_ancestor(old, old)


def test_commits_and_their_trailers(remote: Any, mirror: Mirror) -> None:
    first = remote.commit({"tasks/a": "1"}, "first")
    message = (
        "second: ünï\n\nA body\nof two lines.\n\nApprove-Deletions: acme\nApprove-deletions: b"
    )
    second = remote.commit({"tasks/b": "1"}, message)
    mirror.fetch(["main"])
    info = mirror.commit_info("main")
    assert (info.sha, info.parents, info.subject) == (second, (first,), "second: ünï")
    assert info.author == "A Tester <tester@example.com>"
    assert info.body.startswith("A body\nof two lines.")
    assert info.trailer_values("approve-deletions") == ("acme", "b")
    assert abs((datetime.now(UTC) - info.when).total_seconds()) < 60
    assert [commit.sha for commit in mirror.log("main", limit=10)] == [second, first]
    assert [commit.sha for commit in mirror.log("main", ["tasks/a"], limit=10)] == [first]
    assert [commit.sha for commit in mirror.log("main", limit=10, since=first)] == [second]


def test_tree_ids_tell_whether_a_folder_changed(remote: Any, mirror: Mirror) -> None:
    old = remote.commit({"tasks/acme/a": "1", "README": "1"})
    new = remote.commit({"README": "2"})
    mirror.fetch(["main"])
    assert mirror.tree_id(old, "tasks/acme") == mirror.tree_id(new, "tasks/acme/")
    assert mirror.tree_id(old, "") != mirror.tree_id(new, "")
    assert mirror.tree_id(new, "tasks/beta") is None


def test_names_that_are_git_syntax_are_no_names(remote: Any, mirror: Mirror) -> None:
    remote.commit({"a": "1"})
    mirror.fetch(["main"])
    for name in ("main~1", "main^", ":/x", "--all", "a b", "x\ny", "@{1}", "a..b", ""):
        assert mirror.resolve(name) is None
        with pytest.raises(GitError):
            mirror.fetch([name])


def test_a_folder_serves_one_repository(remote: Any, mirror: Mirror, make_remote: Any) -> None:
    other = make_remote("other")
    with pytest.raises(GitError, match="this folder mirrors"):
        Mirror.open(str(other.path), mirror.path)
    Mirror.open(str(remote.path), mirror.path).close()


def test_locks_of_a_killed_git_are_swept(remote: Any, mirror: Mirror) -> None:
    remote.commit({"a": "1"})
    mirror.fetch(["main"])
    mirror.close()
    lock = mirror.path / "refs" / "remotes" / "origin" / "main.lock"
    lock.touch()
    tip = remote.commit({"a": "2"})
    with Mirror.open(str(remote.path), mirror.path) as again:
        assert again.fetch(["main"]) == {"main": tip}


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=x",
        "ftp://host/x",
        "https://user:pw@host/x.git",
        "https://token@host/x.git",
        "/no/such/folder",
        "",
    ],
)
def test_addresses_that_are_not_taken(url: str, tmp_path: Path) -> None:
    """I9: no transport that runs a command; I8: no credential in an address or its error."""
    with pytest.raises(ConfigurationError) as refused:
        Mirror.open(url, tmp_path / "mirror")
    assert "pw" not in str(refused.value)
    assert "token" not in str(refused.value)


def test_over_http_with_credentials(remote: Any, git_server: Any, tmp_path: Path) -> None:
    """I8: the password is sent, and shown nowhere."""
    tip = remote.commit({"a": "1"})
    url = f"{git_server.url}/remote.git"
    with Mirror.open(url, tmp_path / "http", credentials=Credentials(password="s3cret-pw")) as ours:
        assert ours.fetch(["main"]) == {"main": tip}
        assert ours.ls_remote(["refs/heads/*"]) == {"refs/heads/main": tip}
        with pytest.raises(RefNotFound):
            ours.fetch(["status"])
        assert "s3cret-pw" not in (ours.path / "config").read_text()
    with Mirror.open(url, tmp_path / "none") as anonymous, pytest.raises(GitUnavailable) as refused:
        anonymous.fetch(["main"])
    assert "credential" in (refused.value.cure or "")
    wrong = Credentials(password="wrong-pw")
    with Mirror.open(url, tmp_path / "wrong", credentials=wrong) as ours:
        with pytest.raises(GitUnavailable) as refused:
            ours.fetch(["main"])
        assert "wrong-pw" not in str(refused.value)


def test_http_that_gives_no_repository(remote: Any, git_server: Any, tmp_path: Path) -> None:
    """I1: neither a wrong path, nor a redirect, nor a closed port is a missing branch."""
    remote.commit({"a": "1"})
    ours = Credentials(password="s3cret-pw")
    urls = (
        f"{git_server.url}/none.git",
        f"{git_server.url}/moved/remote.git",
        "http://127.0.0.1:9/x",
    )
    for number, url in enumerate(urls):
        with (
            Mirror.open(url, tmp_path / str(number), credentials=ours) as mirror,
            pytest.raises(GitUnavailable) as failed,
        ):
            mirror.fetch(["main"])
        assert failed.value.place == url


def test_a_sha256_repository_is_refused_clearly(tmp_path: Path) -> None:
    path = tmp_path / "new.git"
    subprocess.run(["git", "init", "-q", "--bare", "--object-format=sha256", path], check=True)
    work = tmp_path / "w"
    subprocess.run(["git", "init", "-q", "--object-format=sha256", "-b", "main", work], check=True)
    for args in (["commit", "-q", "--allow-empty", "-m", "x"], ["push", "-q", str(path), "main"]):
        subprocess.run(["git", *args], cwd=work, check=True)
    with Mirror.open(str(path), tmp_path / "mirror") as mirror:
        with pytest.raises(GitError, match="SHA-256") as refused:
            mirror.fetch(["main"])
        assert refused.value.cure


def test_only_commits_of_allowed_signers_are_verified(
    remote: Any, mirror: Mirror, tmp_path: Path
) -> None:
    for name in ("good", "bad"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(key, check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"alice@example.com {(tmp_path / 'good.pub').read_text()}")
    unsigned = remote.commit({"a": "1"})
    commits = []
    for name in ("good", "bad"):
        options = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={tmp_path / name}"]
        remote.git(*options, "commit", "-q", "-S", "--allow-empty", "-m", name)
        commits.append(remote.git("rev-parse", "HEAD"))
    remote.git("push", "-q", "origin", "HEAD:main")
    mirror.fetch(["main"])
    assert [mirror.verify_commit(sha, SshSigners(signers)) for sha in [unsigned, *commits]] == [
        None,
        "alice@example.com",
        None,
    ]


def test_the_keyring_of_the_host_does_not_count(
    remote: Any, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tip signed with a PGP key that the user's own keyring trusts without limit."""
    if shutil.which("gpg") is None:
        pytest.skip("no gpg here")
    with tempfile.TemporaryDirectory(prefix="gpg") as home:  # its socket needs a short path
        Path(home).chmod(0o700)
        monkeypatch.setenv("GNUPGHOME", home)
        quiet = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        subprocess.run([*quiet, "--quick-gen-key", "eve@example.com", "ed25519"], check=True)
        try:
            options = ["-c", "gpg.format=openpgp", "-c", "user.signingkey=eve@example.com"]
            remote.git(*options, "commit", "-q", "-S", "--allow-empty", "-m", "signed")
            tip = remote.git("rev-parse", "HEAD")
            remote.git("push", "-q", "origin", "HEAD:main")
            assert remote.git("log", "-1", "--format=%G?") == "G"
            mirror.fetch(["main"])
            signers = tmp_path / "signers"
            signers.write_text("eve@example.com ssh-ed25519 AAAA\n")
            assert mirror.verify_commit(tip, SshSigners(signers)) is None
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], check=False)


def test_git_sees_nothing_of_the_users_surroundings(
    remote: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this process was started with: a home full of configuration, a keyring, an agent,
    the variables of a hook, settings that turn checks off."""
    remote.commit({"a": "1"})
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("this is not a configuration\n")
    foreign = {
        "HOME": home,
        "XDG_CONFIG_HOME": home,
        "GNUPGHOME": home / "gnupg",
        "SSH_AUTH_SOCK": home / "agent",
        "GIT_CONFIG_GLOBAL": home / ".gitconfig",
        "GIT_CONFIG_SYSTEM": home / ".gitconfig",
        "GIT_CONFIG_COUNT": "7",
        "GIT_CONFIG_PARAMETERS": "'core.bare'='nonsense'",
        "GIT_SSL_NO_VERIFY": "1",
        "GIT_INDEX_FILE": home / "index",
        "GIT_WORK_TREE": home,
        "GIT_PROXY_COMMAND": "false",
        "GIT_TRACE": home / "trace",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, str(value))
    with Mirror.open(str(remote.path), tmp_path / "mirror") as mirror:
        environment = mirror.commands.run(
            "-c", "alias.show-environment=!env", "show-environment"
        ).decode()
    seen = dict(line.split("=", 1) for line in environment.splitlines() if "=" in line)
    assert str(home) not in environment
    assert not {"SSH_AUTH_SOCK", "GIT_SSL_NO_VERIFY", "GIT_WORK_TREE", "GIT_TRACE"} & set(seen)
    assert seen["HOME"] == str(tmp_path / "mirror")
    assert seen["GIT_CONFIG_GLOBAL"] == os.devnull


def write_object(remote: Any, kind: str, content: bytes) -> str:
    words = ["git", "hash-object", "-w", "-t", kind, "--literally", "--stdin"]
    done = subprocess.run(words, cwd=remote.work, input=content, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit_object(remote: Any, tree: str, person: bytes) -> str:
    content = f"tree {tree}\nauthor ".encode() + person + b"\ncommitter " + person + b"\n\nold\n"
    return write_object(remote, "commit", content)


@pytest.mark.parametrize(
    "person",
    [
        b"A <a@example.com> 1313584730 +051800",
        b"A <a@example.com>1313584730 +0000",
        b"A <a@example.com 1313584730 +0000",
        b"<a@example.com> 1313584730 +0000",
        b"A a@example.com> 1313584730 +0000",
        b"A <a@example.com> 01313584730 +0000",
        b"A <a@example.com> 99999999999999999999 +0000",
    ],
)
def test_commits_of_old_tools_are_followed(remote: Any, mirror: Mirror, person: bytes) -> None:
    """Many histories start with them and cannot be rewritten."""
    remote.commit({"a": "x"})
    tree = remote.git("rev-parse", "HEAD^{tree}")
    remote.git("reset", "-q", "--hard", commit_object(remote, tree, person))
    tip = remote.commit({"a": "y"})
    assert mirror.fetch(["main"]) == {"main": tip}
    assert len(mirror.log(tip, limit=5)) == 2


@pytest.mark.parametrize("mode", [b"040000", b"0100644"])
def test_trees_of_old_tools_are_followed(remote: Any, mirror: Mirror, mode: bytes) -> None:
    remote.commit({"orgs/a.yaml": "x"})
    old = remote.git("rev-parse", "HEAD:orgs" if mode == b"040000" else "HEAD:orgs/a.yaml")
    tree = write_object(remote, "tree", mode + b" orgs\0" + bytes.fromhex(old))
    commit = commit_object(remote, tree, b"A <a@example.com> 1313584730 +0000")
    tip = remote.git("commit-tree", remote.git("rev-parse", "HEAD^{tree}"), "-p", commit, "-m", "x")
    remote.git("push", "-q", "-f", str(remote.path), f"{tip}:refs/heads/main")
    assert mirror.fetch(["main"]) == {"main": tip}


@pytest.mark.parametrize("names", [[b".."], [b"a/b"], [b"b", b"a"], [b"a", b"a"], [b".git"]])
def test_trees_that_make_paths_ambiguous_are_not(
    remote: Any, mirror: Mirror, names: list[bytes]
) -> None:
    """I9."""
    remote.commit({"a": "x"})
    blob = bytes.fromhex(remote.git("rev-parse", "HEAD:a"))
    tree = write_object(remote, "tree", b"".join(b"100644 " + n + b"\0" + blob for n in names))
    tip = commit_object(remote, tree, b"A <a@example.com> 1313584730 +0000")
    remote.git("push", "-q", "-f", str(remote.path), f"{tip}:refs/heads/main")
    with pytest.raises(GitError, match="the remote sent objects that git refuses"):
        mirror.fetch(["main"])


def test_where_a_local_repository_keeps_its_refs(
    remote: Any, tmp_path: Path, make_remote: Callable[[str], Any]
) -> None:
    assert git_dir_of(str(remote.path)) == remote.path
    assert git_dir_of(str(remote.work)) == remote.work / ".git"
    assert git_dir_of(f"file://{remote.path}") == remote.path
    remote.commit({"a": "1"})
    remote.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "side")
    assert git_dir_of(str(tmp_path / "linked")) == remote.work / ".git"
    assert git_dir_of(str(tmp_path)) is None
    assert git_dir_of("https://host/x.git") is None


def test_maintenance_packs_what_fetches_left(
    remote: Any, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guildnet.git.mirror.MAX_PACKS", 4)
    for number in range(8):
        remote.commit({f"tasks/acme/{number % 3}.yaml": f"{number}"})
        mirror.fetch(["main"])
    packs = mirror.path / "objects" / "pack"
    before = len(list(packs.glob("*.pack")))
    index = mirror.index("main")
    mirror.maintain()
    assert before > 4
    assert len(list(packs.glob("*.pack"))) < 3
    assert mirror.index("main") == index
    read = mirror.read_blobs(index.values(), max_bytes=10)
    assert sorted(data or b"" for _, _, data in read) == [b"5", b"6", b"7"]


def test_a_fetch_does_not_wait_for_a_push(remote: Any, tmp_path: Path) -> None:
    """I3, I10: a forge that is slow to take the status branch does not delay what is read."""
    tip = remote.commit({"a": "1"})
    hook = remote.path / "hooks" / "pre-receive"
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    hook.write_text(f"#!/bin/sh\ntouch {begun}\nwhile [ ! -e {go_on} ]; do sleep 0.05; done\n")
    hook.chmod(0o755)
    with Mirror.open(str(remote.path), tmp_path / "mirror.git") as mirror:
        mirror.fetch(["main"])
        pushing = threading.Thread(
            target=mirror.push, args=(tip, "status"), kwargs={"expected": None}
        )
        pushing.start()
        try:
            end = time.monotonic() + 20
            while not begun.exists():
                assert time.monotonic() < end, "the push did not begin"
                time.sleep(0.02)
            assert mirror.fetch(["main"]) == {"main": tip}
            assert pushing.is_alive()
        finally:
            go_on.touch()
            pushing.join()
    assert remote.tip("status") == tip
