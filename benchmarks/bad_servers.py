"""Fake API servers of a hostile org: one hangs, one answers with garbage, and one returns objects
that cannot be recorded."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Json = dict[str, Any]


async def hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


async def lie(_request: web.Request) -> web.StreamResponse:
    """Answer 200 with a malformed body."""
    nested = "[" * 400 + "]" * 400
    body = f'{{"kind": 7, "metadata": [], "items": [{{"metadata": {nested}}}, 3, null]}}'
    return web.Response(text=body, content_type="application/json")


class Unwritable:
    """Stores what it gets, and returns AgentTasks with a status that no file can hold."""

    def __init__(self) -> None:
        self._objects: dict[str, Json] = {}
        self._version = 1

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if request.query.get("watch"):
            await asyncio.sleep(3600)
        if request.method == "GET" and path.endswith("/agenttasks"):
            items = [v for k, v in self._objects.items() if k.startswith(f"{path}/")]
            return _json({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        if request.method == "GET" and "/namespaces/" in path and path.count("/") == 4:
            return _json({"metadata": {"name": path.rsplit("/", 1)[-1], "uid": "u-1"}})
        if request.method == "GET":
            found = self._objects.get(path)
            return _json({"kind": "Status"}, 404) if found is None else _json(found)
        body = json.loads(await request.read())
        if request.method == "POST":
            path = f"{path}/{body['metadata']['name']}"
        return _json(self._store(path, body))

    def _store(self, path: str, body: Json) -> Json:
        self._version += 1
        old = self._objects.get(path, {"metadata": {"uid": str(uuid.uuid4())}})
        body["metadata"] |= {
            "uid": old["metadata"]["uid"],
            "resourceVersion": str(self._version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        if "/agenttasks/" in path:
            bad = "\ud800\x00/../" + "x" * 200_000
            condition = {"type": "Ready", "status": "False", "reason": bad, "message": bad}
            artifact = {"name": f"../{bad}", "size": 1, "sha256": bad}
            body["status"] = {
                "run": 1, "phase": bad, "conditions": [condition], "artifacts": [artifact],
                "logTail": bad,
            }  # fmt: skip
        self._objects[path] = body
        return body


def _json(body: Json, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, content_type="application/json")


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    """Run a server on loopback and yield its URL."""
    app = web.Application(client_max_size=2**22)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
