"""Many connections that never become a request, opened by a process of its own on loopback."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CLIENT = """
import resource, socket, sys
port, count, peers, text = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
for number in range(count):
    client = socket.create_connection(
        ("127.0.0.1", port), timeout=20, source_address=(f"127.0.1.{1 + number % peers}", 0)
    )
    client.sendall(text.encode())
    held.append(client)
print(len(held), flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def half_open(
    port: int, count: int = 2000, *, peers: int = 20, text: str = "GET / HTTP/1.1\r\nX: "
) -> AsyncIterator[int]:
    """Hold `count` connections from `peers` addresses, each having sent `text`; how many opened."""
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _CLIENT, str(port), str(count), str(peers), text),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        async with asyncio.timeout(60):
            yield int(await client.stdout.readline())
    finally:
        client.stdin.close()
        await client.wait()
