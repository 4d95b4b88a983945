"""A plain HTTP proxy in front of a real API server, which can answer for it."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import yaml
from aiohttp import web

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "content-encoding"}

Judge = Callable[[str, str], int | None]
"""Of a request's method and path with query: the status to answer with, None to pass it on."""


@dataclass
class ApiProxy:
    """Passes requests on. `judge` may refuse them; `writes` are those that were passed on and were
    no renewals of a Lease, `reads` the paths of the rest."""

    server: str
    tls: ssl.SSLContext
    judge: Judge | None = None
    writes: list[tuple[str, str]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        status = self.judge(request.method, path) if self.judge else None
        if status is not None:
            return _refusal(status, is_watch="watch=true" in path)
        if request.method == "GET":
            self.reads.append(path)
        elif "/leases" not in path:
            self.writes.append((request.method, path))
        return await self._passed_on(request, path)

    async def _passed_on(self, request: web.Request, path: str) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        session: aiohttp.ClientSession = request.app[SESSION]
        async with session.request(
            request.method, self.server + path, data=await request.read(), headers=headers
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("session", aiohttp.ClientSession)


def _refusal(status: int, *, is_watch: bool) -> web.Response:
    reported = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
            "reason": "Injected", "message": f"a test answers {status}"}  # fmt: skip
    if is_watch:
        return web.Response(text=json.dumps({"type": "ERROR", "object": reported}) + "\n")
    headers = {"Retry-After": "1"} if status == 429 else {}
    return web.json_response(reported, status=status, headers=headers)


@asynccontextmanager
async def proxied(kubeconfig: str) -> AsyncIterator[tuple[ApiProxy, str]]:
    """A proxy for the cluster of a kubeconfig, and the kubeconfig of the proxy."""
    config = yaml.safe_load(kubeconfig)
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    proxy = ApiProxy(cluster["server"], _tls(cluster, user))
    app = web.Application(client_max_size=16 << 20)
    app.router.add_route("*", "/{tail:.*}", proxy.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    connector = aiohttp.TCPConnector(ssl=proxy.tls, limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        app[SESSION] = session
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0][:2]
            yield proxy, _plain(config, f"http://{host}:{port}")
        finally:
            await runner.cleanup()


def _tls(cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    data = {name: base64.b64decode(value) for name, value in (
        ("ca", cluster["certificate-authority-data"]),
        ("cert", user["client-certificate-data"]),
        ("key", user["client-key-data"]),
    )}  # fmt: skip
    with TemporaryDirectory() as folder:
        for name, content in data.items():
            (Path(folder) / name).write_bytes(content)
        context = ssl.create_default_context(cafile=f"{folder}/ca")
        context.load_cert_chain(f"{folder}/cert", f"{folder}/key")
    return context


def _plain(config: dict[str, Any], server: str) -> str:
    """The same context names, for a server that asks for nothing."""
    copy = json.loads(json.dumps(config))
    copy["clusters"][0]["cluster"] = {"server": server}
    copy["users"][0]["user"] = {}
    return yaml.safe_dump(copy)
