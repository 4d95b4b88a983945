"""A receiver of notifications over TLS, and the proxy that leads to it.

The reconciler sends nothing to loopback, so it goes through an HTTP proxy, as behind a firewall.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HOST = "hooks.example"


@dataclass
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers each request with `answer`, but never one for the path `hangs_at`."""

    proxy: str = ""
    port: int = 0
    answer: str = "200 OK"
    extra: str = ""
    hangs_at: str = ""
    got: list[Received] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for(self, count: int) -> list[Received]:
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.got

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split()
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.got.append(Received(method, path, headers, body))
            self.arrived.set()
            if path == self.hangs_at:
                await reader.read()
            else:
                answer = f"HTTP/1.1 {self.answer}\r\n{self.extra}Content-Length: 0\r\n"
                writer.write(f"{answer}Connection: close\r\n\r\n".encode())
                await writer.drain()
        writer.close()


def certificate(folder: Path) -> Path:
    """A certificate for HOST with its key, in one file."""
    path = folder / "receiver.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    names = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *names, *files], check=True, capture_output=True
    )
    path.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return path


@contextlib.asynccontextmanager
async def receiving(pem: Path, address: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """A receiver with a certificate at an address of this machine, and a proxy that leads to it."""
    receiver = Receiver()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    server = await asyncio.start_server(receiver.handle, address, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            to_reader, to_writer = await asyncio.open_connection(address, receiver.port)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))

    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    receiver.proxy = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        proxy.close()
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
