"""A git server with a certificate of a private authority, which the git Secret's ca.crt names."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, Pod


class TlsFront:
    """Terminates TLS with a private certificate and forwards the bytes to the forge."""

    def __init__(self, folder: Path, forge: Forge) -> None:
        self._forge = forge
        self.certificate, key = folder / "cert.pem", folder / "key.pem"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        files = ("-keyout", str(key), "-out", str(self.certificate))
        subprocess.run(
            ["openssl", "req", "-x509", *curve, *names, *files], check=True, capture_output=True
        )
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for end in (self._listener, *self._ends):
            end.close()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._ends.append(plain)
            try:
                outer = self._tls.wrap_socket(plain, server_side=True)
            except OSError:
                plain.close()
                continue
            inner = socket.create_connection(("127.0.0.1", self._forge.port))
            self._ends += [outer, inner]
            for pair in ((outer, inner), (inner, outer)):
                thread = threading.Thread(target=_pass_on, args=pair)
                thread.start()
                self._threads.append(thread)


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := here.recv(65536):
            there.sendall(data)
    for end in (here, there):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def front(tmp_path: Path, forge: Forge) -> Iterator[TlsFront]:
    front = TlsFront(tmp_path, forge)
    yield front
    front.close()


def spec(pod: Pod, front: TlsFront) -> dict[str, Any]:
    git = {"url": f"https://{front.host}/acme/web.git", "secret": "forge"}
    return pod.spec("echo a > a.txt", context=[{"name": "web", "git": git}])


def test_git_and_the_forge_are_reached_with_the_secrets_authority(
    pod: Pod, forge: Forge, front: TlsFront
) -> None:
    pod.write_task({"prompt": "."}, hosts=[front.host])
    authority = pod.folder / "git" / "forge" / "ca.crt"
    pod.start_halves()
    state = pod.run_to_end(spec(pod, front))
    assert "put the certificate of the host's authority into ca.crt" in state["failure"]["message"]

    authority.write_bytes(front.certificate.read_bytes().replace(b"\n", b"\r\n"))
    state = pod.run_to_end(spec(pod, front), attempt=2)
    assert state["published"]["reason"] == "PullRequestOpened", state
    assert forge.created == 1
