"""A repository behind a real ssh server: deploy key, known hosts, and what is said of others."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.functional.agent.conftest import free_port, wait_for

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, Pod


@dataclass(frozen=True)
class SshServer:
    """An ssh server for one key, on which the forge's repositories are folders."""

    port: int
    folder: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.port} {(self.folder / 'host.pub').read_text()}"


def make_key(path: Path) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(words, check=True)


def configuration(folder: Path, port: int) -> str:
    return "\n".join(
        (
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder}/host",
            f"AuthorizedKeysFile {folder}/deploy.pub",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "PermitRootLogin prohibit-password",
        )
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    """Skips where this machine has no sshd that runs."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("no sshd here (Debian: openssh-server)")
    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("host", "deploy", "other"):
        make_key(folder / name)
    port = free_port()
    config = folder / "config"
    config.write_text(configuration(folder, port))
    with separation_folder(), open(folder / "log", "wb") as log:
        checked = subprocess.run([program, "-t", "-f", config], capture_output=True, check=False)
        if checked.returncode != 0:
            pytest.skip(f"sshd does not run here: {checked.stderr.decode().strip()}")
        process = subprocess.Popen([program, "-D", "-e", "-f", config], stderr=log)
        try:
            wait_for("sshd listens", lambda: is_listening(port))
            yield SshServer(port, folder)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def separation_folder() -> Iterator[None]:
    """The empty folder that sshd wants where it runs as root, and that its unit makes elsewhere."""
    folder = Path("/run/sshd")
    is_ours = os.geteuid() == 0 and not folder.exists()
    if is_ours:
        folder.mkdir(mode=0o755)
    try:
        yield
    finally:
        if is_ours:
            folder.rmdir()


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def task_over_ssh(pod: Pod, server: SshServer, key: str, known_hosts: str) -> dict[str, Any]:
    secret = pod.folder / "git" / "forge"
    (secret / "token").unlink(missing_ok=True)
    (secret / "username").write_text(getpass.getuser())
    (secret / "ssh-privatekey").write_text((server.folder / key).read_text())
    (secret / "known_hosts").write_text(known_hosts)
    pod.write_task({"prompt": "."}, hosts=[server.host])
    url = f"ssh://{server.host}{pod.forge.repository()}"
    context = {"name": "web", "git": {"url": url, "secret": "forge"}}
    return pod.spec("echo x > x.txt", context=[context])


def test_a_deploy_key_reads_and_pushes(pod: Pod, forge: Forge, server: SshServer) -> None:
    """Without a token there is no API to ask: the branch is what is published."""
    spec = task_over_ssh(pod, server, "deploy", server.known_hosts)
    pod.start_halves()
    state = pod.run_to_end(spec)
    assert state["outcome"] == "Succeeded", (state, (server.folder / "log").read_text())
    assert state["published"]["reason"] == "BranchPushed"
    assert forge.show("guildnet/acme/fix:x.txt") == "x"
    key_line = (server.folder / "deploy").read_text().splitlines()[1]
    for text in (str(state), pod.log("supervisor"), pod.log("shim")):
        assert key_line not in text


def test_a_host_with_another_key_is_not_spoken_to(
    pod: Pod, forge: Forge, server: SshServer
) -> None:
    """I10: the context, what is wrong, and the cure; a host that cannot be known is no outage."""
    other = (server.folder / "other.pub").read_text()
    cases = [f"[127.0.0.1]:{server.port} {other}", f"elsewhere.example {other}"]
    for attempt, known_hosts in enumerate(cases, start=1):
        spec = task_over_ssh(pod, server, "deploy", known_hosts)
        if attempt == 1:
            pod.start_supervisor()
        state = pod.run_to_end(spec, attempt=attempt)
        assert state["failure"]["reason"] == "ContextFailed"
        assert state["failure"]["message"].startswith("context web: git ls-remote: ")
        assert "known_hosts of the git Secret" in state["failure"]["message"]
        assert state["failure"]["infrastructure"] is False
    assert forge.branches() == {"main"}


def test_a_key_that_the_host_does_not_know_is_named(pod: Pod, server: SshServer) -> None:
    spec = task_over_ssh(pod, server, "other", server.known_hosts)
    pod.start_supervisor()
    state = pod.run_to_end(spec)
    assert state["failure"]["reason"] == "ContextFailed"
    assert "deploy keys" in state["failure"]["message"]
    assert state["failure"]["infrastructure"] is False
