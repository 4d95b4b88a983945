"""An API server that gets slower the more requests are under way, as a small real one does: past
what it can take, every answer comes too late.

It keeps Leases, ConfigMaps and AgentTasks as the reconciler uses them: resourceVersions, conflicts,
server-side apply, lists and watches. It runs in a separate thread.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

Json = dict[str, Any]

KNEE = 40


class CrowdedApi:
    """`most` is how many requests were under way at once, watches and Leases not counted."""

    def __init__(self) -> None:
        self.most = 0
        self.applied: list[str] = []
        self.lists = 0
        self.url = ""
        self.seconds_each = 0.002
        """How long an answer takes while nothing else is under way."""
        self.refusals = 0
        """How many of the next requests get a 429."""
        self.lease_status = 200
        """What is answered about Leases."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._objects: dict[str, Json] = {}
        self._version = 1000
        self._under_way = 0
        self._changed: list[asyncio.Queue[tuple[str, Json]]] = []

    def count(self, kind: str) -> int:
        """How many objects of a kind (its plural) there are."""
        return sum(f"/{kind}/" in path for path in tuple(self._objects))

    def report(self, namespace: str, task: str, status: Json) -> None:
        """Change an AgentTask's status, as the operator does."""
        path = f"/apis/guildnet.io/v1alpha1/namespaces/{namespace}/agenttasks/{task}"
        before = self._objects[path]
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._store, path, {**before, "status": status}, before)

    # --- requests ---------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            return await self._watch(request)
        is_lease = "/leases" in request.path
        self._under_way += 1
        if not is_lease:
            self.most = max(self.most, self._under_way)
        try:
            await asyncio.sleep(self._delay())
            if self.refusals and not is_lease:
                self.refusals -= 1
                status = {"kind": "Status", "reason": "TooManyRequests", "message": "busy"}
                return web.json_response(status, status=429, headers={"Retry-After": "1"})
            if is_lease and self.lease_status != 200:
                return web.json_response({"kind": "Status"}, status=self.lease_status)
            return await self._answer(request)
        finally:
            self._under_way -= 1

    def _delay(self) -> float:
        crowd = self._under_way
        return self.seconds_each * crowd * (1 + (crowd / KNEE) ** 3)

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path
        if request.method == "GET" and path.split("/")[-1] == "agenttasks":
            self.lists += 1
            items = [obj for key, obj in self._objects.items() if key.startswith(f"{path}/")]
            body = {"metadata": {"resourceVersion": str(self._version)}, "items": items}
            return web.json_response(body)
        if request.method == "GET" and "/namespaces/" in path and path.count("/") == 4:
            name = path.rsplit("/", 1)[-1]
            return web.json_response({"metadata": {"name": name, "uid": str(uuid.uuid4())}})
        if request.method == "GET":
            found = self._objects.get(path)
            return _not_found(path) if found is None else web.json_response(found)
        body = json.loads(await request.read())
        if request.method == "POST":
            path = f"{path}/{body['metadata']['name']}"
        before = self._objects.get(path)
        if request.method == "PUT" and before is not None:
            given = body["metadata"].get("resourceVersion")
            if given != before["metadata"]["resourceVersion"]:
                return web.json_response({"kind": "Status", "reason": "Conflict"}, status=409)
        return web.json_response(self._store(path, body, before))

    def _store(self, path: str, body: Json, before: Json | None) -> Json:
        self._version += 1
        meta = {
            **body["metadata"],
            "uid": before["metadata"]["uid"] if before else str(uuid.uuid4()),
            "resourceVersion": str(self._version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 1,
        }
        if "/agenttasks/" in path:
            labels: Json = {f"f:{key}": {} for key in meta.get("labels", {})}
            meta["managedFields"] = [
                {
                    "manager": "guildnet-reconciler",
                    "operation": "Apply",
                    "fieldsV1": {"f:metadata": {"f:labels": labels}, "f:spec": {}},
                }
            ]
            self.applied.append(path)
        stored = {**body, "metadata": meta}
        self._objects[path] = stored
        for queue in self._changed:
            queue.put_nowait((path, stored))
        return stored

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        queue: asyncio.Queue[tuple[str, Json]] = asyncio.Queue()
        self._changed.append(queue)
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                path, obj = await queue.get()
                if path.startswith(f"{request.path}/"):
                    line = json.dumps({"type": "MODIFIED", "object": obj}) + "\n"
                    await answer.write(line.encode())
        finally:
            self._changed.remove(queue)

    # --- its thread -------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[CrowdedApi]:
        """Serve on a free port of the loopback while the block lasts."""
        loop = self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self._start(), loop).result(10)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=2**22)
        app.router.add_route("*", "/{tail:.*}", self.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"
        return runner


def _not_found(path: str) -> web.Response:
    name = path.rsplit("/", 1)[-1]
    status = {"kind": "Status", "reason": "NotFound", "message": f'"{name}" not found'}
    return web.json_response(status, status=404)
