"""The supervisor reads its peer from a real tailscaled, and from sockets that are none."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guildnet_agent.supervisor.mesh_peer import SOCKET, read_peer, watch_mesh
from guildnet_agent.supervisor.state_board import StateBoard
from guildnet_devcluster.mesh import Mesh


async def test_a_connected_peer_is_read_from_tailscaled(mesh_server: Mesh) -> None:
    admin = mesh_server.admin()
    key = admin.create_auth_key(admin.ensure_user("peer@"), tags=["tag:guildnet-peer"])
    client = await asyncio.to_thread(mesh_server.join, "read-peer", key, proxy_port=0)
    try:
        peer = await read_peer(client.folder / SOCKET)
        assert (peer.state, peer.message) == ("Running", "")
        assert peer.name.partition(".")[0] == "read-peer"
        node = next(n for n in admin.nodes() if n["givenName"] == "read-peer")
        assert peer.id == node["id"]
        assert set(peer.addresses) == set(node["ipAddresses"])
    finally:
        client.stop()
    assert (await read_peer(client.folder / SOCKET)).state == "Unreachable"


async def test_a_peer_that_is_not_logged_in_says_so(mesh_server: Mesh) -> None:
    client = mesh_server.client("never-joined", proxy_port=0)
    await asyncio.to_thread(client.start)
    try:
        async with asyncio.timeout(10):
            while (peer := await read_peer(client.folder / SOCKET)).state != "NeedsLogin":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert not peer.is_running
        assert peer.addresses == ()
    finally:
        client.stop()


@contextlib.asynccontextmanager
async def answering(folder: Path, answer: bytes, *, hang: bool = False) -> AsyncIterator[Path]:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if hang:
            await reader.read()
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer_once, folder / SOCKET)
    async with server:
        yield folder / SOCKET


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"BackendState": 7}',
        b'{"BackendState": "Running", "Self": {"TailscaleIPs": ["not an address"]}}',
        b'{"BackendState": "Running", "Self": 5}',
        b"[" * 200_000,
        b" " * 300_000,
    ],
)
async def test_whatever_answers_stops_nothing(tmp_path: Path, answer: bytes) -> None:
    """I9."""
    async with answering(tmp_path, answer) as socket:
        peer = await read_peer(socket)
    assert peer.state == "Unreachable"
    assert len(peer.message) < 300


async def test_a_login_link_and_other_peers_are_not_reported(tmp_path: Path) -> None:
    """I8: whoever opens the link joins a peer as themselves."""
    status = {
        "BackendState": "NeedsLogin",
        "AuthURL": "https://hs.example/register/secret",
        "Health": ["see https://user:pa55@hs.example/register?key=secret"],
        "Peer": {"x": {"HostName": "somebody"}},
    }
    async with answering(tmp_path, json.dumps(status).encode()) as socket:
        text = str(await read_peer(socket))
    assert "hs.example" in text
    assert not any(word in text for word in ("secret", "pa55", "somebody"))


async def test_a_tailscaled_that_hangs_is_given_up(tmp_path: Path) -> None:
    async with answering(tmp_path, b"", hang=True) as socket, asyncio.timeout(10):
        assert (await read_peer(socket)).state == "Unreachable"


async def test_a_control_server_that_is_away_is_reported_without_the_name_being_lost(
    tmp_path: Path,
) -> None:
    own = {"ID": "7", "DNSName": "a.mesh.", "TailscaleIPs": ["100.64.0.7"], "Online": False}
    status = json.dumps({"BackendState": "Running", "Self": own, "Health": []}).encode()
    async with answering(tmp_path, status):
        board = StateBoard()
        watching = asyncio.create_task(watch_mesh(board, tmp_path))
        try:
            async with asyncio.timeout(10):
                await board.wait_for_other(board.etag, 10)
        finally:
            watching.cancel()
    peer = board.state.mesh
    assert peer is not None
    assert (peer.name, peer.message) == ("a.mesh", "the control server does not answer")
