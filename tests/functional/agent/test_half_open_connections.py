"""Connections that other pods hold open do not lock out the kubelet or the operator (I9)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from fastapi import FastAPI

from guildnet.serving import Limits, serving
from guildnet_agent.supervisor.listener import LIMITS, MAX_CONNECTIONS, listen, peer_of

# Here every address of 127.0.0.0/8 plays a pod of its own.
APART = replace(LIMITS, peer=lambda peer, own: peer)


@asynccontextmanager
async def agent_api(limits: Limits) -> AsyncIterator[int]:
    app = FastAPI()
    app.add_api_route("/healthz", lambda: "ok")
    door = listen("127.0.0.1", 0)
    port: int = door.getsockname()[1]
    async with serving(app, [door], limits):
        yield port


async def probe(port: int, source: str) -> bytes:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    return answer


HALF = [b"", b"GET /healthz HT", b"POST /start HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{"]


@pytest.mark.parametrize("half", HALF)
@pytest.mark.parametrize("pods", [1, 8])
async def test_half_open_connections_do_not_block_probes(half: bytes, pods: int) -> None:
    with contextlib.ExitStack() as held:
        async with agent_api(APART) as port:
            for number in range(2 * MAX_CONNECTIONS):
                source = f"127.0.1.{1 + number % pods}"
                made = socket.create_connection(("127.0.0.1", port), 5, (source, 0))
                held.enter_context(made)
                if half:
                    made.send(half)
                await asyncio.sleep(0)
            assert b"200 OK" in await probe(port, "127.0.0.9")


async def test_a_request_head_that_never_ends_is_closed() -> None:
    async with agent_api(replace(APART, head_seconds=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HT")
        async with asyncio.timeout(10):
            assert b"408" in await reader.read()
        writer.close()


def test_all_addresses_of_the_pod_are_one_peer() -> None:
    assert peer_of("10.0.0.7", "10.0.0.7") == peer_of("127.0.0.1", "127.0.0.1")
    assert peer_of("::ffff:127.0.0.1", "::ffff:10.0.0.7") == peer_of("127.9.9.9", "10.0.0.7")
    assert peer_of("10.0.0.8", "10.0.0.7") == "10.0.0.8"
    assert peer_of("::ffff:10.0.0.8", "::ffff:10.0.0.7") == "10.0.0.8"
