"""An HTTP CONNECT and a SOCKS5 proxy, which alone know where the name of a cluster leads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Address = tuple[str, int]


@dataclass
class ForwardingProxy:
    """Connects to `routes` by name, answers like tailscaled where it cannot. `dialled` are the
    names that clients asked for; with `hangs` it never answers."""

    routes: Mapping[str, Address]
    dialled: list[str] = field(default_factory=list)
    hangs: bool = False

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        name = request.split(b" ")[1].decode()
        route = await self._route(name)
        if route is None:
            cause = f"dial tcp: lookup {name}: no such host"
            writer.write(
                b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n"
                b"Tailscale-Connect-Error: " + cause.encode() + b"\r\n\r\n"
            )
            return
        await _join(reader, writer, route, b"HTTP/1.1 200 OK\r\n\r\n")

    async def socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x00")
        *_, kind, length = await reader.readexactly(5)
        assert kind == 3, "names are resolved by the proxy"
        name = (await reader.readexactly(length)).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        route = await self._route(f"{name}:{port}")
        answer = b"\x05%c\x00\x01\x00\x00\x00\x00\x00\x00" % (0 if route else 4)
        if route is None:
            writer.write(answer)
            return
        await _join(reader, writer, route, answer)

    async def _route(self, name: str) -> Address | None:
        self.dialled.append(name)
        if self.hangs:
            await asyncio.Event().wait()
        return self.routes.get(name)


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: Address, greeting: bytes
) -> None:
    far_reader, far_writer = await asyncio.open_connection(*to)
    writer.write(greeting)
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, far_writer))
            both.create_task(_copy(far_reader, writer))
    finally:
        far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


@asynccontextmanager
async def forwarding(proxy: ForwardingProxy, scheme: str) -> AsyncIterator[str]:
    """The proxy's URL while it listens on loopback."""
    handle = proxy.http if scheme == "http" else proxy.socks
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ExceptionGroup):
                await handle(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.sleep(0)
