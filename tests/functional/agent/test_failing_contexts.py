"""A context that cannot be fetched is reported with its reason, and whether a retry may help."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, Pod


def git_task(pod: Pod, **fields: Any) -> dict[str, Any]:
    context = {"url": pod.forge.url(), "secret": "forge"} | fields
    return pod.spec("true", context=[{"name": "web", "git": context}])


def test_a_missing_ref_commit_or_secret_is_final(pod: Pod) -> None:
    """I10: the message has cause and place, and infrastructure is not blamed."""
    pod.start_supervisor()
    cases = [
        ({"ref": "nowhere"}, "the repository has no branch or tag 'nowhere'"),
        ({"commit": "1" * 40}, f"no commit {'1' * 40}"),
        ({"secret": "other"}, "Secret 'other' is not among the task's git Secrets"),
    ]
    for attempt, (fields, said) in enumerate(cases, start=1):
        state = pod.run_to_end(git_task(pod, **fields), attempt=attempt)
        assert state["outcome"] == "Failed"
        assert state["failure"]["reason"] == "ContextFailed"
        assert said in state["failure"]["message"]
        assert state["failure"]["infrastructure"] is False


def test_a_secret_is_not_used_for_another_host(pod: Pod, forge: Forge) -> None:
    """A task's URL cannot send a Secret to another host; that host gets no request."""
    pod.write_task({"prompt": "."}, hosts=["git.example"])
    pod.start_supervisor()
    state = pod.run_to_end(git_task(pod))
    assert "may not be used for" in state["failure"]["message"]
    assert "guildnet.io/hosts" in state["failure"]["message"]
    assert forge.requests == []


def test_an_unreachable_remote_is_infrastructure(pod: Pod) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/acme/web.git"
        spec: dict[str, Any] = {
            "prompt": "x",
            "agent": {"command": ["true"]},
            "context": [
                {"name": "web", "git": {"url": url}},
                {"name": "notes", "text": "here"},
            ],
        }
        pod.start_supervisor()
        state = pod.run_to_end(spec)
    assert state["failure"]["reason"] == "ContextFailed"
    assert state["failure"]["infrastructure"] is True
    assert {item["name"]: item["state"] for item in state["contexts"]} == {
        "web": "Failed",
        "notes": "Ready",
    }


def test_a_url_is_bounded_and_checked(pod: Pod, forge: Forge) -> None:
    """I8, I9."""
    forge.fault = lambda _, path: "404" if path.endswith("/no") else None
    (forge.root / "files").mkdir()
    (forge.root / "files" / "a").write_text("content")
    href = f"{forge.files}/a?token=abc123"
    cases = [
        ({"href": href, "sha256": "0" * 64}, "not url.sha256"),
        ({"href": href, "maxBytes": "3"}, "larger than 3 bytes"),
        ({"href": href.replace("/a?", "/no?")}, "answered 404"),
    ]
    pod.start_supervisor()
    for attempt, (url, said) in enumerate(cases, start=1):
        spec = {
            "prompt": "x",
            "agent": {"command": ["true"]},
            "context": [{"name": "a", "url": url}],
        }
        state = pod.run_to_end(spec, attempt=attempt)
        assert said in state["failure"]["message"]
        assert "abc123" not in str(state)
        assert state["failure"]["infrastructure"] is False


def test_an_unknown_preset_or_missing_command_is_named(pod: Pod) -> None:
    """I10."""
    pod.start_supervisor()
    state = pod.run_to_end(pod.spec("true", agent={"preset": "wizard", "command": ["x"]}))
    assert state["failure"]["reason"] == "InvalidSpec"
    assert "use one of: shell" in state["failure"]["message"]
    state = pod.run_to_end(pod.spec("true", agent={}), attempt=2)
    assert "agent.command" in state["failure"]["message"]


def test_a_missing_program_ends_the_attempt(pod: Pod) -> None:
    pod.start_halves()
    state = pod.run_to_end(pod.spec("", agent={"command": ["no-such-program"]}))
    assert state["exitCode"] == 127
    assert "cannot run no-such-program" in state["failure"]["message"]


def read_url(pod: Pod, attempt: int, href: str) -> dict[str, Any]:
    return pod.run_to_end(
        {
            "prompt": "x",
            "agent": {"command": ["sh", "-c", "cat a"]},
            "context": [{"name": "a", "url": {"href": href}}],
        },
        attempt=attempt,
    )


def test_a_url_cannot_reach_an_address_of_the_node(pod: Pod, forge: Forge) -> None:
    """I9: redirects are followed, but never to the node's own addresses, and at most five."""
    (forge.root / "files").mkdir()
    (forge.root / "files" / "a").write_text("content")
    here = forge.files.removesuffix("/files")
    pod.start_halves()
    state = read_url(pod, 1, f"{here}/leads-on?to=/files/a")
    assert state["outcome"] == "Succeeded", state
    assert state["logTail"] == "content"
    cases = [
        (f"{here}/leads-on?to=http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        (f"{here}/leads-on?to=http://localhost:1/x", "not allowed for a context"),
        ("http://169.254.169.254/latest/meta-data", "not allowed for a context"),
        (f"http://{forge.host}/files/a", "not allowed for a context"),
        (f"http://[::ffff:127.0.0.1]:{forge.port}/files/a", "not allowed for a context"),
        (f"{here}/leads-on?to=file:///etc/passwd", "not encrypted"),
    ]
    for attempt, (href, said) in enumerate(cases, start=2):
        state = read_url(pod, attempt, href)
        assert state["failure"]["reason"] == "ContextFailed"
        assert said in state["failure"]["message"]
        assert state["failure"]["infrastructure"] is False
    # This URL redirects to itself.
    state = read_url(pod, 19, f"{here}/leads-to-itself")
    assert "more than 5 times" in state["failure"]["message"]


def test_an_unexpected_failure_of_one_context_does_not_stop_others(pod: Pod, forge: Forge) -> None:
    """I3, I10: other contexts are fetched, and the failure names context and error."""
    spec: dict[str, Any] = {
        "prompt": "x",
        "agent": {"command": ["true"]},
        "context": [
            {"name": "odd", "git": {"url": "https://[::1/x.git"}},
            {"name": "port", "url": {"href": "http://files.example:99999/x"}},
            {"name": "none", "url": {}},
            {"name": "words", "text": "here"},
        ],
    }
    pod.start_supervisor()
    state = pod.run_to_end(spec)
    assert state["failure"]["reason"] == "ContextFailed"
    assert "git.url: this URL cannot be read" in state["failure"]["message"]
    assert {item["name"]: item["state"] for item in state["contexts"]} == {
        "odd": "Failed",
        "port": "Failed",
        "none": "Failed",
        "words": "Ready",
    }
    said = {item["name"]: item["message"] for item in state["contexts"]}
    assert "has an invalid port" in said["port"]
    assert "KeyError" in said["none"]


def test_a_stale_lock_does_not_block_a_context(pod: Pod) -> None:
    """I6: a restarted supervisor removes the locks of its predecessor's git."""
    pod.start_halves()
    assert pod.run_to_end(pod.spec("true"))["outcome"] == "Succeeded"
    repository = pod.exchange_in / "contexts" / "web.git"
    pod.kill("supervisor")
    for name in ("refs/guildnet/start.lock", "packed-refs.lock", "HEAD.lock", "config.lock"):
        (repository / name).touch()
    pod.start_supervisor()
    state = pod.run_to_end(pod.spec("echo x > x.txt"), attempt=2)
    assert state["outcome"] == "Succeeded", state


def test_ssh_needs_a_secret_with_a_key_and_known_hosts(pod: Pod) -> None:
    """I10: the message names what is missing, with the cure; no host gets a request."""
    url = "ssh://git.example/acme/web.git"
    pod.write_task({"prompt": "."}, hosts=["git.example"])
    pod.start_supervisor()
    state = pod.run_to_end(git_task(pod, url=url))
    assert "Secret 'forge' has no ssh-privatekey" in state["failure"]["message"]
    (pod.folder / "git" / "forge" / "ssh-privatekey").write_text("key")
    state = pod.run_to_end(git_task(pod, url=url), attempt=2)
    assert "Secret 'forge' has no known_hosts" in state["failure"]["message"]
    state = pod.run_to_end(git_task(pod, url=url, secret=None), attempt=3)
    assert "name a Secret with ssh-privatekey and known_hosts" in state["failure"]["message"]
