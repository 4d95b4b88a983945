"""Every HTTP server of ours stays usable whatever its peers leave half done (I3, I9)."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.functional.half_open import half_open

from guildnet.serving import BoundedServer, Limits, bind, http_config, serving
from guildnet_dashboard.certificate import development_certificate

SOON = 10.0
QUICK = Limits(head_seconds=0.4, body_seconds=0.4, stall_seconds=0.4)


class Application:
    """Answers at once; `/open` streams until the peer is gone, `/body` once the body is read."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.bodies: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain")]
        if scope["path"] == "/body":
            message: dict[str, Any] = {"type": "", "more_body": True}
            while message["type"] != "http.disconnect" and message.get("more_body"):
                message = await receive()
            self.bodies.append(message["type"])
            if message["type"] == "http.disconnect":
                return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/open":
            await self._stream(receive, send)
            return
        await send({"type": "http.response.body", "body": b"hello"})

    async def _stream(self, receive: Any, send: Any) -> None:
        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        waiting = asyncio.create_task(gone())
        while not waiting.done():
            await send({"type": "http.response.body", "body": b"x" * 4096, "more_body": True})
            await asyncio.sleep(0.001)
        self.ended.append("/open")


@pytest.fixture
def application() -> Application:
    return Application()


@asynccontextmanager
async def served(application: Application, limits: Limits) -> AsyncIterator[int]:
    listeners = bind("127.0.0.1", 0)
    async with serving(application, listeners, limits):
        yield listeners[0].getsockname()[1]


async def drip(port: int, first: bytes, again: bytes) -> bytes:
    """Send `first`, then `again` every 50 ms; all that the server sends until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(reader.read())
    try:
        writer.write(first)
        async with asyncio.timeout(SOON):
            while not reading.done():
                await asyncio.sleep(0.05)
                if not reading.done():
                    writer.write(again)
        return reading.result()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_head_that_never_ends_is_answered_and_closed(application: Application) -> None:
    async with served(application, QUICK) as port:
        answer = await drip(port, b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n")
        silent = await drip(port, b"", b"")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert silent.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_never_ends_is_answered_and_closed(application: Application) -> None:
    head = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    async with served(application, QUICK) as port:
        answer = await drip(port, head, b"b")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert application.bodies == ["http.disconnect"]


async def test_the_next_request_of_a_connection_has_a_deadline_too(
    application: Application,
) -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served(application, QUICK) as port:
        answer = await drip(port, whole + whole + b"GET / HT", b"T")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.count(b"HTTP/1.1 408 ") == 1


async def test_a_peer_that_reads_nothing_is_disconnected(application: Application) -> None:
    async with served(application, QUICK) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(SOON):
                while not application.ended:  # noqa: ASYNC110  the peer sees nothing of it
                    await asyncio.sleep(0.02)


async def test_a_peer_that_reads_slowly_but_steadily_is_served(application: Application) -> None:
    async with served(application, QUICK) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        writer.write(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
        until = time.monotonic() + 4 * QUICK.stall_seconds
        while time.monotonic() < until:
            assert await reader.read(262144) != b""
        writer.close()


@contextmanager
def descriptors(soft: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("text", ["", "GET / HTTP/1.1\r\nX: ", "POST /body HTTP/1.1\r\nHost: x\r\n"
                                  "Content-Length: 9\r\n\r\n"])  # fmt: skip
async def test_2000_half_open_connections_do_not_block_others(
    application: Application, text: str
) -> None:
    """Old clients and new ones are served, and descriptors are left for git."""
    before = open_descriptors()
    with descriptors(1024):
        async with (
            served(application, Limits()) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=SOON) as old,
            old.stream("GET", "/open") as stream,
        ):
            chunks = stream.aiter_raw(4096)
            await anext(chunks)
            assert (await old.get("/")).status_code == 200
            async with half_open(port, text=text) as opened:
                assert opened == 2000
                assert open_descriptors() - before < 600
                assert len(await anext(chunks)) == 4096
                assert (await old.get("/")).status_code == 200
                async with httpx.AsyncClient(timeout=SOON) as new:
                    assert (await new.get(f"http://127.0.0.1:{port}/")).text == "hello"
                git = await asyncio.create_subprocess_exec(
                    "git", "--version", stdout=asyncio.subprocess.DEVNULL
                )
                assert await git.wait() == 0


async def test_a_peer_that_is_served_already_too_often_gets_503(application: Application) -> None:
    """Its requests under way are not broken off, and another peer is served."""
    limits = Limits(total=16, per_peer=4)
    request = b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served(application, limits) as port:
        busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for reader, writer in busy:
            writer.write(request)
            assert (await reader.read(12)) == b"HTTP/1.1 200"
        refused, refused_writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await refused.read(12)) == b"HTTP/1.1 503"
        other, other_writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=("127.0.0.9", 0)
        )
        other_writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await other.read(12)) == b"HTTP/1.1 200"
        assert [await reader.read(1) != b"" for reader, _ in busy] == [True] * 4
        for writer in (refused_writer, other_writer, *(writer for _, writer in busy)):
            writer.close()


async def test_handshakes_count_and_have_a_deadline(
    application: Application, tmp_path: Path
) -> None:
    """Before TLS is agreed, HTTP does not know of a connection."""
    certificate = development_certificate(tmp_path, "127.0.0.1")
    listeners = bind("127.0.0.1", 0)
    port = listeners[0].getsockname()[1]
    config = http_config(application, certificate=certificate)
    server = BoundedServer(config, listeners, Limits(total=16, per_peer=4, head_seconds=1))
    running = asyncio.create_task(server.serve())
    trusted = ssl.create_default_context(cafile=str(certificate[0]))
    try:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]
        async with httpx.AsyncClient(verify=trusted) as client:
            assert (await client.get(f"https://127.0.0.1:{port}/")).text == "hello"
        async with asyncio.timeout(SOON):
            for reader, writer in silent:
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
    finally:
        server.should_exit = True
        await running


async def test_a_peer_cannot_claim_another_address() -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])
        await Application()(scope, receive, send)

    listeners = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listeners[0].getsockname()[1]}/"
    async with serving(application, listeners), httpx.AsyncClient() as client:
        await client.get(url, headers={"X-Forwarded-For": "192.0.2.7"})
    assert seen == ["127.0.0.1"]


async def test_the_descriptor_limit_is_raised(application: Application) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with descriptors(256):
        async with served(application, Limits()) as port, httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert soft == min(hard, 65536)
