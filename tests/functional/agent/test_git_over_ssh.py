"""A repository behind a real ssh server: deploy keys, known hosts, and errors."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.functional.agent.conftest import free_port, wait_for
from tests.ssh_server import ssh_server_command, ssh_server_program

from guildnet.errors import GitUnavailable
from guildnet.git import Credentials, Mirror, SecretFolder

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
    """Skips the test if sshd cannot run here; `make test` installs one."""
    if ssh_server_program() is None:
        pytest.skip("no sshd here, and none in the cache (`make test` puts it there)")
    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("host", "deploy", "other"):
        make_key(folder / name)
    port = free_port()
    config = folder / "config"
    config.write_text(configuration(folder, port))
    with open(folder / "log", "wb") as log:
        check = ssh_server_command(config, "-t")
        checked = subprocess.run(check, capture_output=True, check=False)
        if checked.returncode != 0:
            pytest.skip(f"sshd does not run here: {checked.stderr.decode().strip()}")
        process = subprocess.Popen(ssh_server_command(config, "-D", "-e"), stderr=log)
        try:
            wait_for("sshd listens", lambda: is_listening(port))
            yield SshServer(port, folder)
        finally:
            process.terminate()
            process.wait()


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
    """Without a token for the API only the branch is published."""
    spec = task_over_ssh(pod, server, "deploy", server.known_hosts)
    pod.start_halves()
    state = pod.run_to_end(spec)
    assert state["outcome"] == "Succeeded", (state, (server.folder / "log").read_text())
    assert state["published"]["reason"] == "BranchPushed"
    assert forge.show("guildnet/acme/fix:x.txt") == "x"
    key_line = (server.folder / "deploy").read_text().splitlines()[1]
    for text in (str(state), pod.log("supervisor"), pod.log("shim")):
        assert key_line not in text


def test_a_host_with_another_key_is_refused(pod: Pod, forge: Forge, server: SshServer) -> None:
    """I10: the message has context, cause and cure; an invalid URL is not infrastructure."""
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


def test_a_key_that_the_host_refuses_is_reported(pod: Pod, server: SshServer) -> None:
    spec = task_over_ssh(pod, server, "other", server.known_hosts)
    pod.start_supervisor()
    state = pod.run_to_end(spec)
    assert state["failure"]["reason"] == "ContextFailed"
    assert "deploy keys" in state["failure"]["message"]
    assert state["failure"]["infrastructure"] is False


@pytest.mark.parametrize(
    ("mode", "change"),
    [
        (0o600, lambda key: key),
        (0o644, lambda key: key),
        (0o440, lambda key: key.rstrip(b"\n")),
        (0o600, lambda key: key.replace(b"\n", b"\r\n")),
    ],
    ids=["as made", "0644", "0440 without a last line end", "CR LF"],
)
def test_a_mirror_uses_the_key_of_a_mounted_secret(
    forge: Forge,
    server: SshServer,
    tmp_path: Path,
    mode: int,
    change: Callable[[bytes], bytes],
) -> None:
    """The git credentials of reconciler and dashboard."""
    folder = tmp_path / "secret"
    folder.mkdir()
    key = folder / "ssh-privatekey"
    key.write_bytes(change((server.folder / "deploy").read_bytes()))
    key.chmod(mode)
    (folder / "known_hosts").write_text(server.known_hosts)
    url = f"ssh://{getpass.getuser()}@{server.host}{forge.repository()}"
    given = SecretFolder(folder)
    with Mirror.open(url, tmp_path / "mirror", credentials=given) as mirror:
        assert mirror.fetch(["main"])


def test_a_mirror_reports_what_ssh_refuses(forge: Forge, server: SshServer, tmp_path: Path) -> None:
    """I10: each with its own cure, from a real ssh."""
    url = f"ssh://{getpass.getuser()}@{server.host}{forge.repository()}"
    known = tmp_path / "known_hosts"
    known.write_text(server.known_hosts)
    unreadable = tmp_path / "unreadable"
    unreadable.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    cures = {
        "deploy keys": Credentials(ssh_key=server.folder / "other", known_hosts=known),
        "known_hosts": Credentials(ssh_key=server.folder / "deploy"),
        "an OpenSSH private key": Credentials(ssh_key=unreadable, known_hosts=known),
    }
    for number, (cure, given) in enumerate(cures.items()):
        with (
            Mirror.open(url, tmp_path / f"mirror-{number}", credentials=given) as mirror,
            pytest.raises(GitUnavailable) as refused,
        ):
            mirror.fetch(["main"])
        assert cure in (refused.value.cure or ""), refused.value
