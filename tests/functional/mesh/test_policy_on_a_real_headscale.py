"""The policy that `guildnet mesh policy` prints, in force on a real Headscale with real peers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from guildnet.mesh import CLUSTER_TAG, RECONCILER_TAG
from guildnet_devcluster import mesh
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.mesh_client import MeshClient
from guildnet_devcluster.progress import progress_to

PORTS = (8443, 6443)
#: Peer -> its user, and its tag, if any.
PEERS = {
    "fix-acme": ("guildnet-acme@", "tag:guildnet-acme"),
    "test-acme": ("guildnet-acme@", "tag:guildnet-acme"),
    "fix-globex": ("guildnet-globex@", "tag:robots"),
    "acme-api": ("clusters@", CLUSTER_TAG),
    "reconciler": ("reconcilers@", RECONCILER_TAG),
    "alice-laptop": ("alice@example.com", None),
    "bob-laptop": ("bob@example.com", None),
    "stranger": ("mallory@example.com", None),
}
#: (source, destination, port) of everything that is accepted.
ACCEPTED = {
    ("alice-laptop", "fix-acme", 8443),
    ("alice-laptop", "test-acme", 8443),
    ("bob-laptop", "fix-globex", 8443),
    ("reconciler", "acme-api", 6443),
}
ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {{name: {name}}}
spec:
  cluster: {{kubeconfig: {name}, namespace: agents}}
  agent: {{command: [sh]}}
  mesh: {{mode: tailscale, apiSecret: mesh, loginServer: '{server}', {more}}}
"""
#: Long enough for a busy machine: every path was used before the policy was set.
DENIED_SECONDS = 4
ACCEPTED_SECONDS = 60

Reached = set[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class _Peer:
    client: MeshClient
    address: str


@pytest.fixture(scope="module")
def own_mesh(
    mesh_server: Mesh, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Mesh, dict[str, _Peer]]]:
    """A Headscale of this module's own, because a policy is for all its peers, and the peers."""
    folder = tmp_path_factory.mktemp("policy") / "mesh"
    try:
        found = mesh.up(folder, progress=progress_to())
        with _page() as page, ThreadPoolExecutor(4) as pool:
            peers = pool.map(lambda name: _join(found, name, page), PEERS)
            yield found, dict(zip(PEERS, peers, strict=True))
    finally:
        mesh.down(folder)


@contextmanager
def _page() -> Iterator[str]:
    """`ADDRESS:PORT` of a web server on loopback, a process of its own."""
    program = (
        "import http.server as h; s = h.ThreadingHTTPServer(('127.0.0.1', 0),"
        " h.SimpleHTTPRequestHandler); print(s.server_port, flush=True); s.serve_forever()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None
        try:
            yield f"127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def _join(found: Mesh, name: str, page: str) -> _Peer:
    login, tag = PEERS[name]
    admin = found.admin()
    key = admin.create_auth_key(admin.ensure_user(login), tags=[tag] if tag else [])
    client = found.join(name, key)
    for port in PORTS:
        client.serve(port, page)
    return _Peer(client, client.address())


def _reached(
    peers: dict[str, _Peer], wanted: Iterable[tuple[str, str, int]], within: int
) -> Reached:
    """Those of `wanted` that lead to the page within `within` seconds, all tried at once."""

    async def attempt(route: tuple[str, str, int]) -> tuple[str, str, int] | None:
        source, destination, port = route
        proxy = peers[source].client.proxy_port
        try:
            async with asyncio.timeout(within):
                answer = await _get(proxy, f"http://{peers[destination].address}:{port}/")
        except (OSError, TimeoutError):
            return None
        return route if b"Directory listing" in answer else None

    async def attempts() -> Reached:
        found = await asyncio.gather(*map(attempt, wanted))
        return {route for route in found if route is not None}

    return asyncio.run(attempts())


async def _get(proxy: int, url: str) -> bytes:
    """What the HTTP proxy on loopback answers to a request for `url`, whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    try:
        writer.write(f"GET {url} HTTP/1.0\r\n\r\n".encode())
        return await reader.read(-1)
    finally:
        writer.close()


def _every_route() -> Reached:
    return {
        (source, destination, port)
        for source in PEERS
        for destination in PEERS
        for port in PORTS
        if source != destination
    }


def _policy(server: str, folder: Path) -> str:
    (folder / "orgs").mkdir()
    people = {"acme": "people: [alice@example.com, absent@example.com]"}
    people["globex"] = "people: [bob@example.com], tags: ['tag:robots']"
    for name, more in people.items():
        text = ORG.format(name=name, server=server, more=more)
        (folder / "orgs" / f"{name}.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "guildnet_cli.main", "mesh", "policy", str(folder)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_org_reaches_its_own_agents_and_nobody_reaches_anything_else(
    own_mesh: tuple[Mesh, dict[str, _Peer]], tmp_path: Path
) -> None:
    """I2: before the policy every peer reaches every other one, so what is refused afterwards is
    refused by the policy. A login that has no user yet does no harm to the others of its group."""
    found, peers = own_mesh
    everything = _every_route()
    assert len(everything) == 8 * 7 * 2
    assert _reached(peers, everything, ACCEPTED_SECONDS) == everything

    found.admin().set_policy(_policy(found.login_server, tmp_path))

    _wait_until_in_force(peers)
    assert _reached(peers, ACCEPTED, ACCEPTED_SECONDS) == ACCEPTED
    assert _reached(peers, everything - ACCEPTED, DENIED_SECONDS) == set()
    # Still, after all of that.
    assert _reached(peers, ACCEPTED, ACCEPTED_SECONDS) == ACCEPTED


def _wait_until_in_force(peers: dict[str, _Peer]) -> None:
    """Wait until the control server shows each peer only those that it reaches or is reached by.

    Headscale 0.26 sends no list to a peer that is left without any: `stranger` keeps its old one.
    """
    expected: dict[str, set[str]] = {}
    for source, destination, _ in ACCEPTED:
        expected.setdefault(source, set()).add(destination)
        expected.setdefault(destination, set()).add(source)
    deadline = time.monotonic() + 60
    for name, wanted in expected.items():
        while (seen := _visible(peers[name].client)) != wanted:
            assert time.monotonic() < deadline, (name, seen)
            time.sleep(0.1)


def _visible(client: MeshClient) -> set[str]:
    return {peer["HostName"] for peer in (client.status()["Peer"] or {}).values()}
