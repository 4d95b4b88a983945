"""Reading git's output: refs of a remote, causes of failures, headers of bundles."""

from __future__ import annotations

import io

import pytest

from guildnet.git.failures import cause_of
from guildnet_agent.supervisor.git.bundle import BundleRefused, read_head
from guildnet_agent.supervisor.git.process import cure_for
from guildnet_agent.supervisor.git.repository import parse_ls_remote, push_cure

A, B = "a" * 40, "b" * 40


def test_ls_remote() -> None:
    refs = parse_ls_remote(
        f"ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/main\n"
        f"{B}\trefs/tags/v1\n{A}\trefs/tags/v1^{{}}\n"
    )
    assert refs.head == "refs/heads/main"
    assert refs.branch("main") == A
    assert refs.branch("other") is None
    assert refs.tag("v1") == A
    assert parse_ls_remote("").head is None


@pytest.mark.parametrize(
    "said",
    [
        "fatal: unable to access 'http://h/': Failed to connect to h port 80: Connection refused",
        "fatal: unable to access 'https://h/': Could not resolve host: h",
        "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502",
        "fatal: the remote end hung up unexpectedly",
        "ssh: connect to host h port 22: Connection timed out",
        "fatal: unable to access 'https://h/': The requested URL returned error: 429",
        "kex_exchange_identification: Connection closed by remote host",
        "fatal: unable to access 'https://h/': gnutls_handshake() failed: Error",
        "error: RPC failed; curl 56 GnuTLS recv error (-110)",
        "fatal: unable to access 'https://h/': OpenSSL SSL_connect: SSL_ERROR_SYSCALL",
    ],
)
def test_a_remote_without_an_answer_is_retried(said: str) -> None:
    assert cause_of(said).passes


@pytest.mark.parametrize(
    "said",
    [
        "remote: Repository not found.\nfatal: repository 'https://h/x/' not found",
        "fatal: Authentication failed for 'https://h/x/'",
        "fatal: unable to access 'https://h/': The requested URL returned error: 403",
        "fatal: could not read Username for 'https://h': terminal prompts disabled",
        " ! [remote rejected] x -> guildnet/a/b (pre-receive hook declined)",
    ],
)
def test_a_refusal_is_not_retried(said: str) -> None:
    assert not cause_of(said).passes


REJECTED = (
    " ! [rejected]        {} -> guildnet/acme/{} ({})\nerror: failed to push some refs to 'h'"
)
IN_THE_WAY = (
    "remote: error: cannot lock ref 'refs/heads/guildnet/a/b': 'refs/heads/guildnet/a' exists;"
    " cannot create 'refs/heads/guildnet/a/b'\n ! [remote rejected] x -> guildnet/a/b (failed)"
)


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("fatal: Authentication failed for 'https://h/x/'", "right to push"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "right to"),
        (
            "remote: Permission to a/b.git denied to bot.\nfatal: unable to access 'https://h/': "
            "The requested URL returned error: 403",
            "right to push",
        ),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403", "right to"),
        (REJECTED.format("0" * 40, "fix", "non-fast-forward"), "moved the branch"),
        (REJECTED.format("0" * 40, "fix", "stale info"), "moved the branch"),
        (" ! [remote rejected] x -> y (protected branch hook declined)", "guildnet/"),
        (IN_THE_WAY, "beside the branch guildnet/a: rename or delete"),
        (
            "remote: error: GH006: Protected branch update failed\n ! [remote rejected] x -> y "
            "(protected branch hook declined)",
            "the server's message says",
        ),
        ("remote: Author's email does not follow the pattern", "the server's message says"),
    ],
)
def test_each_refused_push_has_its_cure(said: str, cure: str) -> None:
    """I10."""
    assert cure in push_cure(said)


WORDS = [
    "401",
    "fix-403",
    "permission-denied",
    "fetch-first",
    "timeout",
    "timed-out",
    "denied(publickey)",
]


@pytest.mark.parametrize("word", WORDS)
def test_names_do_not_change_how_a_refusal_is_classified(word: str) -> None:
    """Branches, tasks, hosts and the remote's message may contain any phrase of git's."""
    commit = "4034" + "0" * 36
    moved = REJECTED.format(commit, word, "fetch first")
    assert "moved the branch" in push_cure(moved)
    assert not cause_of(moved).passes
    for rule in (
        f"remote: {word} is not allowed\n ! [remote rejected] {commit} -> {word} (hook declined)",
        f"remote: rule\n ! [remote rejected] {commit} -> {word} (pre-receive hook declined)",
    ):
        assert "the server's message says" in push_cure(rule)
        assert not cause_of(rule).passes
    assert not cause_of(f"fatal: couldn't find remote ref refs/heads/timeout-{word}").passes
    assert not cause_of(f"fatal: repository 'https://h/{word}-timeout/' not found").passes


def test_ssh_failures_have_their_cure() -> None:
    """I10."""
    assert "known_hosts" in (cure_for("Host key verification failed.") or "")
    assert "deploy keys" in (cure_for("git@h: Permission denied (publickey).") or "")
    assert cure_for("fatal: repository 'https://h/x/' not found") is None


def test_the_header_of_a_bundle_is_read() -> None:
    head = f"# v2 git bundle\n-{A} what was cloned\n{B} refs/guildnet/work\n\n".encode()
    found = read_head(io.BytesIO(head + b"PACK..."))
    assert found.refs == {"refs/guildnet/work": B}
    assert found.pack_offset == len(head)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# v2 git bundle\n",
        b"PACK",
        b"# v9 git bundle\n\n",
        f"# v2 git bundle\n{A} ../../x\n\n".encode(),
        b"# v2 git bundle\n" + b"-" * 100_000 + b"\n\n",
    ],
)
def test_data_that_is_not_a_bundle_is_refused(data: bytes) -> None:
    """I9."""
    with pytest.raises(BundleRefused):
        read_head(io.BytesIO(data))
