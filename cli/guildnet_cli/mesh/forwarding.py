"""TCP connections to a peer on the mesh, directly or through a userspace tailscaled's proxy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from python_socks.async_.asyncio import Proxy

from guildnet.redact import strip_urls

CONNECT_SECONDS = 10.0
_CHUNK = 64 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NoConnection(Exception):
    """No connection to the peer; the text says why. `proxy_failed`: it is not the peer's fault."""

    def __init__(self, message: str, *, proxy_failed: bool = False) -> None:
        super().__init__(message)
        self.proxy_failed = proxy_failed


@dataclass(frozen=True, slots=True)
class Route:
    """The way to one port of a peer. `proxy`: the URL of an HTTP or SOCKS5 proxy, None for a direct
    connection."""

    host: str
    port: int
    proxy: str | None = None

    async def connect(self) -> Streams:
        """Raises NoConnection."""
        try:
            if self.proxy is None:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(self.host, self.port)
            # python-socks knows socks5 only; with either, names are the proxy's to resolve.
            url = self.proxy.replace("socks5h://", "socks5://", 1)
            proxy = Proxy.from_url(url, rdns=True)
            connected = await proxy.connect(self.host, self.port, timeout=CONNECT_SECONDS)
            return await asyncio.open_connection(sock=connected)
        except ProxyConnectionError as error:
            raise NoConnection(strip_urls(str(error)), proxy_failed=True) from error
        except (ProxyTimeoutError, TimeoutError) as error:
            raise NoConnection(f"no answer within {CONNECT_SECONDS:.0f} s") from error
        except (ProxyError, OSError) as error:
            raise NoConnection(strip_urls(str(error))) from error


@asynccontextmanager
async def forwarding(route: Route, port: int) -> AsyncIterator[int]:
    """Forward a port of this machine's loopback to the peer; `port` 0 is any free one.

    Gives the port. Raises OSError where it is taken.
    """
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with contextlib.suppress(NoConnection, OSError):
                far_reader, far_writer = await route.connect()
                with contextlib.closing(far_writer):
                    await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        except asyncio.CancelledError:
            pass  # The server ends; its callback would log the cancellation as an error.
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
