"""Why git failed, whatever branches, hosts and servers are called and whatever an id holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.errors import GitUnavailable, PushRejected
from guildnet.git.failures import Cause, cause_of, missing_ref, refused_ref, servers_words
from guildnet.git.process import CommandFailed
from guildnet.git.remote_errors import push_error, remote_error

ACCESS = "fatal: unable to access 'https://h.example/a/b.git/': "
# Each would have chosen a cause when words were looked for anywhere.
NAMES = (
    "fix-401",
    "403",
    "permission-denied",
    "authentication-failed",
    "corruption-finder",
    "timeout",
    "not-found",
    "error-500",
    "certificate",
    "redirect",
    "fsck-error",
    "hash-algorithm",
    "rejected",
    "early-eof",
    "fatal:",
    "remote:",
    "Host-key-verification-failed.",
)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (f"{ACCESS}Could not resolve host: h.example", Cause.UNKNOWN_HOST),
        (f"{ACCESS}Failed to connect to h.example port 443 after 1 ms: refused", Cause.NO_ANSWER),
        (f"{ACCESS}Received HTTP code 503 from proxy after CONNECT", Cause.NO_ANSWER),
        (f"{ACCESS}CONNECT tunnel failed, response 502", Cause.NO_ANSWER),
        (f"{ACCESS}Received HTTP code 407 from proxy after CONNECT", Cause.PROXY_REFUSED),
        (f"{ACCESS}CONNECT tunnel failed, response 403", Cause.PROXY_REFUSED),
        (f"{ACCESS}The requested URL returned error: 429", Cause.SERVER_FAULT),
        (f"{ACCESS}The requested URL returned error: 502", Cause.SERVER_FAULT),
        (f"{ACCESS}The requested URL returned error: 403", Cause.CREDENTIAL),
        (f"{ACCESS}The requested URL returned error: 404", Cause.NOT_FOUND),
        (f"{ACCESS}The requested URL returned error: 301", Cause.REDIRECTED),
        (f"{ACCESS}SSL certificate problem: self-signed certificate", Cause.CERTIFICATE),
        (f"{ACCESS}server certificate verification failed. CAfile: none", Cause.CERTIFICATE),
        (f"{ACCESS}GnuTLS, handshake failed: Error in the pull function.", Cause.NO_ANSWER),
        (f"{ACCESS}Empty reply from server", Cause.NO_ANSWER),
        (
            "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502\n"
            "fatal: the remote end hung up unexpectedly",
            Cause.SERVER_FAULT,
        ),
        (
            "error: RPC failed; HTTP 413 curl 22 The requested URL returned error: 413\n"
            "send-pack: unexpected disconnect while reading sideband packet\n"
            "fatal: the remote end hung up unexpectedly",
            Cause.TOO_LARGE,
        ),
        ("error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly", Cause.NO_ANSWER),
        ("fatal: Authentication failed for 'https://h.example/x/'", Cause.CREDENTIAL),
        (
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            Cause.CREDENTIAL,
        ),
        (
            "remote: Not Found.\nfatal: repository 'https://h.example/x/' not found",
            Cause.NOT_FOUND,
        ),
        ("fatal: '/srv/x' does not appear to be a git repository", Cause.NOT_FOUND),
        ("fatal: couldn't find remote ref refs/heads/status", Cause.REF_MISSING),
        ("fatal: remote error: upload-pack: not our ref 0123", Cause.REF_MISSING),
        ("fatal: detected dubious ownership in repository at '/srv/x'", Cause.OWNERSHIP),
        ("fatal: mismatched algorithms: client sha1; server sha256", Cause.HASH_ALGORITHM),
        (f"error: object {'a' * 40}: missingEmail: invalid author", Cause.BAD_OBJECTS),
        ("fatal: fsck error in packed object", Cause.BAD_OBJECTS),
        (
            "remote: aborting due to possible repository corruption on the remote side.\n"
            "fatal: early EOF",
            Cause.BAD_OBJECTS,
        ),
        ("fatal: write error: No space left on device", Cause.DISK_FULL),
        (f"fatal: loose object {'a' * 40} (stored in x/aa/a) is corrupt", Cause.DAMAGED),
        ("error: object file objects/aa/b is empty", Cause.DAMAGED),
        ("fatal: the remote end hung up unexpectedly", Cause.NO_ANSWER),
        ("ssh: connect to host h port 22: Connection timed out", Cause.NO_ANSWER),
        (
            "kex_exchange_identification: Connection closed by remote host\n"
            "fatal: Could not read from remote repository.",
            Cause.NO_ANSWER,
        ),
        ("ssh: Could not resolve hostname h: Name or service not known", Cause.UNKNOWN_HOST),
        ("Host key verification failed.\nfatal: Could not read from remote", Cause.HOST_KEY),
        ("git@h: Permission denied (publickey).\nfatal: Could not read", Cause.KEY_REFUSED),
        (
            'Load key "/k": error in libcrypto\ngit@h: Permission denied (publickey).',
            Cause.KEY_UNREADABLE,
        ),
        ("ERROR: Repository not found.\nfatal: Could not read from remote", Cause.NOT_FOUND),
        (" ! [rejected]        a -> b (non-fast-forward)", Cause.MOVED),
        ("!\ta:refs/heads/b\t[rejected] (stale info)", Cause.MOVED),
        (
            "!\ta:refs/heads/b\t[remote rejected] (cannot lock ref 'refs/heads/b': is at 1)",
            Cause.MOVED,
        ),
        (" ! [remote rejected] a -> b (protected branch hook declined)", Cause.PUSH_REFUSED),
        (
            "remote: GitLab: Internal API unreachable\n"
            " ! [remote rejected] a -> b (pre-receive hook declined)",
            Cause.SERVER_FAULT,
        ),
        (" ! [remote rejected] a -> b (Internal Server Error)", Cause.SERVER_FAULT),
        ("what no version of git has said yet", Cause.UNKNOWN),
        ("", Cause.UNKNOWN),
    ],
)
def test_each_phrase_has_its_cause(said: str, cause: Cause) -> None:
    assert cause_of(said) is cause


def test_what_passes_by_itself() -> None:
    assert {cause for cause in Cause if cause.passes} == {
        Cause.SERVER_FAULT,
        Cause.NO_ANSWER,
        Cause.UNKNOWN_HOST,
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_name_chooses_the_cause(name: str) -> None:
    host = name.strip(".:")
    url = f"https://{host}/{name}/{name}.git/"
    down = f"fatal: unable to access '{url}': Failed to connect to {host} port 443"
    assert cause_of(down) is Cause.NO_ANSWER
    assert type(remote_error(failed(down), "p")) is GitUnavailable
    commit = "01403401" * 5
    assert cause_of(f" ! [rejected]        {commit} -> {name} (fetch first)") is Cause.MOVED
    assert cause_of(f"!\t{commit}:refs/heads/{name}\t[rejected] (stale info)") is Cause.MOVED
    declined = f" ! [remote rejected] {commit} -> {name} (pre-receive hook declined)"
    assert cause_of(declined) is Cause.PUSH_REFUSED
    assert missing_ref(f"fatal: couldn't find remote ref refs/heads/{name}") == f"refs/heads/{name}"
    assert cause_of(f"remote: {name} is what a hook may say of it") is Cause.UNKNOWN
    assert cause_of(f"To https://{host}/{name}.git") is Cause.UNKNOWN


@given(
    st.sampled_from(NAMES),
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
    st.text("0123456789abcdef", min_size=40, max_size=40),
)
def test_a_rejection_is_classified_for_any_names(name: str, other: str, commit: str) -> None:
    branch = f"{name}{other}".replace(":", "")
    stdout = (
        f"To https://{other}/x\n!\t{commit}:refs/heads/{branch}\t[rejected] (fetch first)\nDone\n"
    )
    assert type(push_error(failed("", stdout), "p")) is PushRejected
    assert refused_ref(stdout) == "[rejected] (fetch first)"


def test_a_server_that_cannot_decide_now_has_not_refused() -> None:
    """The commits wait, as in any other outage."""
    stdout = "!\ta:refs/heads/status\t[remote rejected] (pre-receive hook declined)\n"
    stderr = "remote: GitLab: Internal API unreachable\n"
    error = push_error(failed(stderr, stdout), "p")
    assert type(error) is GitUnavailable
    assert "Internal API unreachable" in error.message


def test_the_servers_own_words() -> None:
    said = "remote: \nremote: error: GH001: Large files detected.  \nfatal: x\nremote: trace: 1\n"
    assert servers_words(said) == "error: GH001: Large files detected.; trace: 1"
    assert servers_words("fatal: no\n") == ""


def test_a_damaged_copy_is_named_with_its_cure() -> None:
    """I10: the folder, not the remote, is what a person must look at."""
    error = remote_error(failed(f"fatal: bad object {'a' * 40}\n"), "https://h/x")
    assert error.place == "/mirror"
    assert "moved away" in (error.cure or "")


def failed(stderr: str, stdout: str = "") -> CommandFailed:
    return CommandFailed(
        "fetch",
        status=128,
        stdout=stdout,
        stderr=stderr,
        place="https://h/x",
        git_dir=Path("/mirror"),
    )
