"""git's words, as they come out of its pipes, turned into values and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.errors import GitError, GitUnavailable, PushRejected, RefNotFound
from guildnet.git.fast_import import CommitDraft, check_path, stream
from guildnet.git.history import parse_commit
from guildnet.git.objects import is_askable
from guildnet.git.process import CommandFailed, CommandTimedOut, first_words
from guildnet.git.refs import is_ref_name, tracking_ref
from guildnet.git.remote_errors import push_error, remote_error
from guildnet.git.trees import parse_raw_diff, parse_tree, parse_tree_object


def failed(stderr: str, stdout: str = "") -> CommandFailed:
    return CommandFailed(
        "fetch", status=128, stdout=stdout, stderr=stderr, place="here", git_dir=Path("/mirror")
    )


@pytest.mark.parametrize(
    ("stderr", "error"),
    [
        ("fatal: couldn't find remote ref refs/heads/status\n", RefNotFound),
        ("fatal: remote error: upload-pack: not our ref 123\n", RefNotFound),
        ("fatal: unable to access 'https://h/': Could not resolve host: h\n", GitUnavailable),
        ("fatal: Authentication failed for 'https://h/'\n", GitUnavailable),
        ("fatal: repository 'https://h/x/' not found\n", GitUnavailable),
        ("Host key verification failed.\nfatal: Could not read from remote\n", GitUnavailable),
        ("fatal: the remote end hung up unexpectedly\n", GitUnavailable),
        ("something that no version of git has said yet\n", GitUnavailable),
        ("", GitUnavailable),
        ("error: object 12: missingEmail\nfatal: fsck error in packed object\n", GitError),
        ("fatal: mismatched algorithms: client sha1; server sha256\n", GitError),
        ("fatal: write error: No space left on device\n", GitError),
    ],
)
def test_failures_of_the_remote(stderr: str, error: type[GitError]) -> None:
    """I1: only a remote that answered can lack a ref; whatever is not known is unavailable."""
    assert type(remote_error(failed(stderr), "https://h/x")) is error


def test_time_that_ran_out_is_unavailable() -> None:
    late = CommandTimedOut("git fetch did not finish within 120 s")
    assert type(remote_error(late, "x")) is GitUnavailable
    assert type(push_error(late, "x")) is GitUnavailable


def test_refused_pushes_carry_the_servers_words() -> None:
    stdout = "To x\n!\tabc:refs/heads/status\t[remote rejected] (pre-receive hook declined)\nDone\n"
    error = push_error(failed("remote: \nremote: status is protected\n", stdout), "x")
    assert type(error) is PushRejected
    assert "pre-receive hook declined" in error.message
    assert "status is protected" in error.message
    assert type(push_error(failed("fatal: unable to access\n"), "x")) is GitUnavailable


def test_words_are_short_and_plain() -> None:
    text = "hint: do this\nwarning: that\nfatal: it broke\n" + "error: x\n" * 1000
    assert first_words(text).startswith("it broke; x")
    assert len(first_words("fatal: " + "y" * 9999)) == 500


def test_trees_and_diffs() -> None:
    blob = "a" * 40
    listing = "\0".join([f"100644 blob {blob}\ta b\n/ü", f"120000 blob {blob}\tl", ""]).encode()
    assert list(parse_tree(listing)) == [("a b\n/ü", "100644", blob), ("l", "120000", blob)]
    assert list(parse_tree(b"")) == []
    zero = "0" * 40
    raw = f":100644 120000 {blob} {blob} T\0t\0:100644 000000 {blob} {zero} D\0d\0"
    changes = list(parse_raw_diff(raw.encode()))
    assert [(change.path, change.status, change.kind) for change in changes] == [
        ("t", "M", "symlink"),
        ("d", "D", "file"),
    ]


COMMIT = (
    b"tree t\nparent p1\nparent p2\nauthor A <a@b> 99999999999999999 +0000\n"
    b"committer B <b@c> 1 +0000\ngpgsig -----BEGIN\n author C <c@d> 1 +0000\n\n"
)


def test_a_time_outside_the_calendar_is_not_a_failure() -> None:
    commit = parse_commit("sha", COMMIT + b"s\nt\n\nb\nK: v\n")
    assert commit.when.year == 1970
    assert commit.parents == ("p1", "p2")
    assert commit.author == "A <a@b>"
    assert (commit.subject, commit.body) == ("s t", "b\nK: v")


@pytest.mark.parametrize(
    "message",
    [
        "Clean up (#12)\n\n* Remove them\n\nK: v\n\n* Explain\n\n---------\n\nBy: B <b@c>",
        "Squashed commit of the following:\n\ncommit 1\n\n    Remove\n    \n    K: v\n\ncommit 2",
        "s\r\n\r\nk : v \r\nmore",
        "K: v",
        "s\n\nK: v",
    ],
)
def test_a_line_of_its_own_counts_in_any_paragraph(message: str) -> None:
    commit = parse_commit("sha", COMMIT + message.encode())
    assert commit.trailer_values("K") == ("v",)


@pytest.mark.parametrize("message", ["say K: v", "> K: v", "* K: v", "K:\nv", "KK: v", "K v"])
def test_a_line_that_says_more_does_not_count(message: str) -> None:
    commit = parse_commit("sha", COMMIT + message.encode())
    assert "v" not in commit.trailer_values("K")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_commit_of_some_kind(data: bytes) -> None:
    """I9: content of a repository is read without failing, also in an unknown encoding."""
    for text in (data, COMMIT + data, b"author x\nencoding " + data):
        commit = parse_commit("sha", text)
        assert isinstance(commit.subject + commit.body + commit.author, str)


@given(st.dictionaries(st.binary(min_size=1, max_size=9), st.booleans(), max_size=5))
def test_tree_objects(names: dict[bytes, bool]) -> None:
    usable = {name: folder for name, folder in names.items() if b"\0" not in name}
    oid = bytes(range(32))
    data = b"".join(
        (b"40000 " if folder else b"100644 ") + name + b"\0" + oid
        for name, folder in usable.items()
    )
    assert parse_tree_object(data, 32) == [
        (
            name.decode("utf-8", "backslashreplace"),
            "040000" if folder else "100644",
            oid.hex(),
        )
        for name, folder in usable.items()
    ]
    with pytest.raises(ValueError, match="not a tree object"):
        parse_tree_object(data + b"x", 32)


@given(st.text(max_size=40))
def test_names_never_become_options_or_revisions(name: str) -> None:
    """I9: what is taken as a ref can be nothing else to git."""
    if is_ref_name(name):
        assert not name.startswith("-")
        assert not set(name) & set(" ~^:?*[\\\n\0")
        assert ".." not in name
        assert tracking_ref(name).startswith("refs/")


def test_what_can_be_asked_in_one_line() -> None:
    assert is_askable("HEAD:tasks/a b.yaml")
    for name in ("", "a\nb", "x" * 5000, "HEAD:./x", "HEAD:../x"):
        assert not is_askable(name)


PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@given(PATHS, st.binary(max_size=50))
def test_a_stream_says_what_was_meant(path: str, content: bytes) -> None:
    """I9: neither a path nor a content can inject a command into the stream."""
    try:
        check_path(path)
    except GitError:
        return
    draft = CommitDraft("f" * 40, {path: content}, "m", "A <a@b>", 1)
    head, _, tail = stream(draft, "refs/x").partition(b"\nM 100644 inline ")
    assert head.endswith(b"from " + b"f" * 40)
    quoted, _, rest = tail.partition(b"\n")
    assert quoted.startswith(b'"')
    assert quoted.endswith(b'"')
    assert rest == b"data %d\n%s\n\nget-mark :1\ndone\n" % (len(content), content)
