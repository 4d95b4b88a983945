"""git's words, read: what a remote has, whether it was there, what a bundle holds."""

from __future__ import annotations

import io

import pytest

from guildnet_agent.supervisor.bundle import BundleRefused, read_head
from guildnet_agent.supervisor.git_runner import is_unavailable, ssh_cure
from guildnet_agent.supervisor.repository import parse_ls_remote, push_cure

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
def test_a_remote_that_gave_no_answer_may_give_one_later(said: str) -> None:
    assert is_unavailable(said)


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
def test_a_remote_that_said_no_will_say_it_again(said: str) -> None:
    assert not is_unavailable(said)


def test_each_refused_push_has_its_cure() -> None:
    """I10."""
    assert "right to push" in push_cure("fatal: Authentication failed")
    assert "moved the branch" in push_cure("! [rejected] x -> y (non-fast-forward)")
    assert "guildnet/" in push_cure("! [remote rejected] (protected branch hook declined)")


def test_what_ssh_does_not_accept_has_its_cure() -> None:
    """I10."""
    assert "known_hosts" in (ssh_cure("Host key verification failed.") or "")
    assert "deploy keys" in (ssh_cure("git@h: Permission denied (publickey).") or "")
    assert ssh_cure("fatal: repository 'https://h/x/' not found") is None


def test_the_head_of_a_bundle() -> None:
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
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    """I9."""
    with pytest.raises(BundleRefused):
        read_head(io.BytesIO(data))
