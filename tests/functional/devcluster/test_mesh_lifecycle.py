"""A real Headscale with userspace Tailscale clients: started, joined, crashed and removed."""

from __future__ import annotations

import os
import signal
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from guildnet.errors import GuildNetError
from guildnet_devcluster import mesh, processes
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.progress import progress_to


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """`ADDRESS:PORT` of a web server on loopback that answers every request with `hello`."""

    class Hello(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def data(mesh_server: Mesh, tmp_path: Path) -> Iterator[Path]:
    """The folder of a mesh of the test's own; its programs are built."""
    folder = tmp_path / "mesh"
    yield folder
    mesh.down(folder)


def test_peers_reach_each_other_through_the_proxy(mesh_server: Mesh, page: str) -> None:
    admin = mesh_server.admin()
    user = admin.ensure_user("lifecycle@")
    server = mesh_server.join("page-server", admin.create_auth_key(user))
    server.serve(8443, page)
    client = mesh_server.join("page-client", admin.create_auth_key(user))

    with httpx.Client(proxy=f"http://{client.proxy}", trust_env=False, timeout=30) as http:
        by_address = http.get(f"http://{server.address()}:8443/")
        by_name = http.get("http://page-server:8443/")

    assert by_address.text == by_name.text == "hello"
    online = {node["givenName"] for node in admin.nodes() if node["online"]}
    assert {"page-server", "page-client"} <= online


def test_a_key_that_was_used_once_is_refused(mesh_server: Mesh) -> None:
    admin = mesh_server.admin()
    key = admin.create_auth_key(admin.ensure_user("once@"), tags=["tag:once"])
    mesh_server.join("first-use", key)

    with pytest.raises(GuildNetError, match="authkey already used"):
        mesh_server.join("second-use", key)
    mesh_server.client("second-use").stop()


def test_data_survives_a_crash_and_down_removes_everything(data: Path) -> None:
    """Also I8: only the owner can read the API key, and no process has it in its arguments."""
    first = mesh.up(data, progress=progress_to())
    admin = first.admin()
    client = first.join(
        "laptop", admin.create_auth_key(admin.ensure_user("alice@"), ephemeral=False)
    )
    [headscale] = [each for each in _processes(data) if each.name == "headscale"]
    os.kill(headscale.pid, signal.SIGKILL)

    second = mesh.up(data, progress=progress_to())

    assert second.login_server == first.login_server
    assert [node["givenName"] for node in second.admin().nodes()] == ["laptop"]
    assert second.api_key.stat().st_mode & 0o077 == 0
    running = _processes(data)
    arguments = [Path(f"/proc/{each.pid}/cmdline").read_bytes() for each in running]
    assert arguments
    assert not any(second.api_key.read_bytes() in each for each in arguments)
    address = second.login_server
    mesh.down(data)

    assert not any(each.is_alive for each in [headscale, *running])
    assert not client.folder.exists()
    assert not data.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health", trust_env=False)
    mesh.down(data)


def _processes(data: Path) -> list[processes.Process]:
    return processes.recorded(mesh.layout_of(data))
